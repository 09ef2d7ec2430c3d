// cAdvisor as a kubelet runs it: the machine's cgroups at /metrics/cadvisor, with the labels that a kubelet gives.
//
// Usage: cadvisor ADDRESS. Plain HTTP; whoever stands in for the kubelet adds TLS and authorization.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/google/cadvisor/cache/memory"
	"github.com/google/cadvisor/container"
	info "github.com/google/cadvisor/info/v1"
	v2 "github.com/google/cadvisor/info/v2"
	"github.com/google/cadvisor/manager"
	"github.com/google/cadvisor/metrics"
	"github.com/google/cadvisor/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/utils/clock"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: cadvisor ADDRESS")
	}
	// What the kubelet includes, in part.
	included := container.MetricSet{
		container.CpuUsageMetrics: struct{}{}, container.MemoryUsageMetrics: struct{}{}, container.CpuLoadMetrics: struct{}{},
		container.DiskIOMetrics: struct{}{}, container.NetworkUsageMetrics: struct{}{}, container.ProcessMetrics: struct{}{},
	}
	interval, dynamic := 10*time.Second, true
	housekeeping := manager.HousekeepingConfig{Interval: &interval, AllowDynamic: &dynamic}
	machine, err := manager.New(memory.New(2*time.Minute, nil), sysfs.NewRealSysFs(), housekeeping, included, http.DefaultClient, []string{"/"}, nil, "", 0)
	if err != nil {
		return err
	}
	if err := machine.Start(); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	options := v2.RequestOptions{IdType: v2.TypeName, Count: 1, Recursive: true}
	if err := registry.Register(metrics.NewPrometheusCollector(machine, labels, included, clock.RealClock{}, options)); err != nil {
		return err
	}
	http.Handle("/metrics/cadvisor", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return http.ListenAndServe(os.Args[1], nil)
}

// labels are those of a kubelet; without a container runtime there is nothing to fill them with but the cgroup.
func labels(of *info.ContainerInfo) map[string]string {
	return map[string]string{"id": of.Name, "name": "", "image": "", "container": "", "pod": "", "namespace": ""}
}
