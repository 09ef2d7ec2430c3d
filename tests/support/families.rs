//! The metrics that the made-up exporters of [`generate`](super::generate) expose, by the names that the real ones have.
//!
//! What stands in `<>` is a pod's own: see `Pod::fill`.

pub(super) const DISK: [&str; 17] = [
    "read_bytes",
    "read_time_seconds",
    "reads_completed",
    "reads_merged",
    "write_time_seconds",
    "writes_completed",
    "writes_merged",
    "written_bytes",
    "io_time_seconds",
    "io_time_weighted_seconds",
    "discards_completed",
    "discards_merged",
    "discarded_sectors",
    "discard_time_seconds",
    "flush_requests",
    "flush_requests_time_seconds",
    "io_errors",
];

pub(super) const NETWORK: [&str; 16] = [
    "receive_bytes",
    "receive_compressed",
    "receive_drop",
    "receive_errs",
    "receive_fifo",
    "receive_frame",
    "receive_multicast",
    "receive_nohandler",
    "receive_packets",
    "transmit_bytes",
    "transmit_carrier",
    "transmit_colls",
    "transmit_compressed",
    "transmit_drop",
    "transmit_errs",
    "transmit_packets",
];

pub(super) const NETWORK_GAUGES: [&str; 9] = [
    "carrier",
    "dormant",
    "flags",
    "iface_id",
    "mtu_bytes",
    "protocol_type",
    "speed_bytes",
    "transmit_queue_length",
    "up",
];

pub(super) const FILESYSTEM: [&str; 7] =
    ["avail_bytes", "device_error", "files", "files_free", "free_bytes", "readonly", "size_bytes"];

pub(super) const DCGM: [&str; 25] = [
    "DEV_SM_CLOCK",
    "DEV_MEM_CLOCK",
    "DEV_MEMORY_TEMP",
    "DEV_GPU_TEMP",
    "DEV_POWER_USAGE",
    "DEV_PCIE_REPLAY_COUNTER",
    "DEV_TOTAL_ENERGY_CONSUMPTION",
    "DEV_GPU_UTIL",
    "DEV_MEM_COPY_UTIL",
    "DEV_ENC_UTIL",
    "DEV_DEC_UTIL",
    "DEV_XID_ERRORS",
    "DEV_FB_FREE",
    "DEV_FB_USED",
    "DEV_FB_RESERVED",
    "DEV_UNCORRECTABLE_REMAPPED_ROWS",
    "DEV_CORRECTABLE_REMAPPED_ROWS",
    "DEV_ROW_REMAP_FAILURE",
    "DEV_NVLINK_BANDWIDTH_TOTAL",
    "DEV_VGPU_LICENSE_STATUS",
    "PROF_GR_ENGINE_ACTIVE",
    "PROF_PIPE_TENSOR_ACTIVE",
    "PROF_DRAM_ACTIVE",
    "PROF_PCIE_TX_BYTES",
    "PROF_PCIE_RX_BYTES",
];

const POD: &[&str] = &[""];
const MAIN: &[&str] = &["container=\"main\""];
const INIT: &[&str] = &["container=\"init\""];
const RESOURCES: &[&str] = &[
    "container=\"main\",node=\"<node>\",resource=\"cpu\",unit=\"core\"",
    "container=\"main\",node=\"<node>\",resource=\"memory\",unit=\"byte\"",
];
const CONDITIONS: &[&str] = &["condition=\"true\"", "condition=\"false\"", "condition=\"unknown\""];

/// kube-state-metrics: the names behind `kube_pod_`, and what each sample of a pod has besides namespace, pod and uid.
pub(super) const KUBE_STATE: [(&str, &[&str]); 39] = [
    (
        "container_info",
        &["container=\"main\",image_spec=\"registry.example/team/app:<version>\",\
           image=\"registry.example/team/app:<version>\",\
           image_id=\"registry.example/team/app@sha256:<digest>\",container_id=\"containerd://<container>\""],
    ),
    ("container_resource_limits", RESOURCES),
    ("container_resource_requests", RESOURCES),
    ("container_state_started_time", MAIN),
    ("container_status_ready", MAIN),
    ("container_status_restarts_total", MAIN),
    ("container_status_running", MAIN),
    ("container_status_terminated", MAIN),
    ("container_status_waiting", MAIN),
    ("created", POD),
    (
        "info",
        &["host_ip=\"<host>\",pod_ip=\"<ip>\",node=\"<node>\",created_by_kind=\"ReplicaSet\",\
           created_by_name=\"<app>\",priority_class=\"\",host_network=\"false\""],
    ),
    (
        "init_container_info",
        &[
            "container=\"init\",image_spec=\"registry.example/team/init:v1\",image=\"registry.example/team/init:v1\",\
           image_id=\"registry.example/team/init@sha256:00000000000000000000000000000000000000000000000000000000000000aa\",\
           container_id=\"containerd://<sandbox>\"",
        ],
    ),
    ("init_container_status_ready", INIT),
    ("init_container_status_restarts_total", INIT),
    ("init_container_status_running", INIT),
    ("init_container_status_terminated", INIT),
    ("init_container_status_terminated_reason", &["container=\"init\",reason=\"Completed\""]),
    ("init_container_status_waiting", INIT),
    ("ips", &["ip=\"<ip>\",ip_family=\"4\""]),
    ("owner", &["owner_kind=\"ReplicaSet\",owner_name=\"<app>\",owner_is_controller=\"true\""]),
    ("restart_policy", &["type=\"Always\""]),
    ("scheduler", &["name=\"default-scheduler\""]),
    ("service_account", &["service_account=\"default\""]),
    ("spec_volumes_persistentvolumeclaims_info", &["volume=\"data\",persistentvolumeclaim=\"<pod>\""]),
    ("spec_volumes_persistentvolumeclaims_readonly", &["volume=\"data\",persistentvolumeclaim=\"<pod>\""]),
    ("start_time", POD),
    ("status_container_ready_time", POD),
    ("status_initialized_time", POD),
    (
        "status_phase",
        &[
            "phase=\"Running\"",
            "phase=\"Pending\"",
            "phase=\"Succeeded\"",
            "phase=\"Failed\"",
            "phase=\"Unknown\"",
        ],
    ),
    (
        "status_qos_class",
        &["qos_class=\"Burstable\"", "qos_class=\"BestEffort\"", "qos_class=\"Guaranteed\""],
    ),
    ("status_ready", CONDITIONS),
    ("status_ready_time", POD),
    (
        "status_reason",
        &[
            "reason=\"Evicted\"",
            "reason=\"NodeAffinity\"",
            "reason=\"NodeLost\"",
            "reason=\"Shutdown\"",
            "reason=\"UnexpectedAdmissionError\"",
        ],
    ),
    ("status_scheduled", CONDITIONS),
    ("status_scheduled_time", POD),
    ("status_unschedulable", POD),
    ("tolerations", &["key=\"node.kubernetes.io/not-ready\",operator=\"Exists\",effect=\"NoExecute\""]),
    ("container_status_last_terminated_reason", &["container=\"main\",reason=\"Error\""]),
    ("container_status_last_terminated_exitcode", MAIN),
];

const CONTAINER: &str = "container=\"main\",\
    id=\"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<slice>.slice/cri-containerd-<container>.scope\",\
    image=\"registry.example/team/app@sha256:<digest>\",name=\"<container>\",namespace=\"<namespace>\",pod=\"<pod>\"";
const SLICE: &str = "container=\"\",id=\"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<slice>.slice\",\
    image=\"\",name=\"\",namespace=\"<namespace>\",pod=\"<pod>\"";
const SANDBOX: &str = "container=\"\",\
    id=\"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<slice>.slice/cri-containerd-<sandbox>.scope\",\
    image=\"registry.example/pause:3.10\",interface=\"eth0\",name=\"<sandbox>\",namespace=\"<namespace>\",pod=\"<pod>\"";

const BOTH: &[&str] = &[CONTAINER, SLICE];
const ONE: &[&str] = &[CONTAINER];
const INTERFACE: &[&str] = &[SANDBOX];

/// cAdvisor: the names behind `container_`, and the cgroups of a pod that have it.
pub(super) const CADVISOR: [(&str, &[&str]); 54] = [
    ("cpu_usage_seconds_total", BOTH),
    ("cpu_system_seconds_total", BOTH),
    ("cpu_user_seconds_total", BOTH),
    ("cpu_cfs_periods_total", BOTH),
    ("cpu_cfs_throttled_periods_total", BOTH),
    ("cpu_cfs_throttled_seconds_total", BOTH),
    ("cpu_load_average_10s", BOTH),
    ("memory_cache", BOTH),
    ("memory_failcnt", BOTH),
    ("memory_mapped_file", BOTH),
    ("memory_max_usage_bytes", BOTH),
    ("memory_rss", BOTH),
    ("memory_swap", BOTH),
    ("memory_usage_bytes", BOTH),
    ("memory_working_set_bytes", BOTH),
    ("processes", BOTH),
    ("sockets", BOTH),
    ("threads", BOTH),
    ("file_descriptors", BOTH),
    ("tasks_state", BOTH),
    ("oom_events_total", BOTH),
    ("fs_reads_total", ONE),
    ("fs_reads_bytes_total", ONE),
    ("fs_reads_merged_total", ONE),
    ("fs_writes_total", ONE),
    ("fs_writes_bytes_total", ONE),
    ("fs_writes_merged_total", ONE),
    ("fs_io_current", ONE),
    ("fs_io_time_seconds_total", ONE),
    ("fs_limit_bytes", ONE),
    ("fs_usage_bytes", ONE),
    ("fs_inodes_free", ONE),
    ("fs_inodes_total", ONE),
    ("last_seen", ONE),
    ("memory_failures_total", ONE),
    ("memory_kernel_usage", ONE),
    ("spec_cpu_period", ONE),
    ("spec_cpu_quota", ONE),
    ("spec_cpu_shares", ONE),
    ("spec_memory_limit_bytes", ONE),
    ("spec_memory_reservation_limit_bytes", ONE),
    ("spec_memory_swap_limit_bytes", ONE),
    ("start_time_seconds", ONE),
    ("threads_max", ONE),
    ("ulimits_soft", ONE),
    ("blkio_device_usage_total", ONE),
    ("network_receive_bytes_total", INTERFACE),
    ("network_receive_errors_total", INTERFACE),
    ("network_receive_packets_dropped_total", INTERFACE),
    ("network_receive_packets_total", INTERFACE),
    ("network_transmit_bytes_total", INTERFACE),
    ("network_transmit_errors_total", INTERFACE),
    ("network_transmit_packets_dropped_total", INTERFACE),
    ("network_transmit_packets_total", INTERFACE),
];
