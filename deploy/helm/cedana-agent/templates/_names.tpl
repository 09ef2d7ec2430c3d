{{- define "agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "agent.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "agent.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "agent.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* A cluster has one object of a name, whatever the namespaces: a second release elsewhere must not take the first one's. */}}
{{- define "agent.clusterName" -}}
{{- if eq .Release.Namespace "cedana-monitoring" }}
{{- include "agent.fullname" . }}
{{- else }}
{{- printf "%s-%s" .Release.Namespace (include "agent.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "agent.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the account that is there, or set serviceAccount.create" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "agent.selector" -}}
app.kubernetes.io/name: {{ include "agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "agent.labels" -}}
{{ include "agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "agent.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- /* Whether several agents run at once. */}}
{{- define "agent.several" -}}
{{- if or (and (eq .Values.mode "deployment") (gt (int .Values.replicas) 1)) (and (eq .Values.mode "statefulset") (gt (int .Values.sharding.total) 1)) }}true{{ end }}
{{- end }}

{{- /* Several agents of which one works at a time. */}}
{{- define "agent.election" -}}
{{- if and (eq .Values.mode "deployment") (gt (int .Values.replicas) 1) }}true{{ end }}
{{- end }}

{{- /* Of the agents of a DaemonSet none is the first: one more beside them watches the Kubernetes events. */}}
{{- define "agent.watcher" -}}
{{- if and (eq .Values.mode "daemonset") .Values.kubernetesEvents.enabled }}true{{ end }}
{{- end }}

{{- /* Its name, which is not that of the others: their selector must not find it. */}}
{{- define "agent.watcherName" -}}
{{- printf "%s-events" (include "agent.name" . | trunc 56 | trimSuffix "-") }}
{{- end }}

{{- /* A quantity of either spelling (2GiB, 3Gi) in bytes. */}}
{{- define "agent.bytes" -}}
{{- $number := regexFind "^[0-9.]+" . | float64 }}
{{- $unit := trimSuffix "B" (regexFind "[A-Za-z]*$" .) }}
{{- $scale := get (dict "" 1 "k" 1e3 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) $unit }}
{{- mulf $number $scale | int64 }}
{{- end }}

{{- /* Relations between values, which the schema cannot tell. */}}
{{- define "agent.check" -}}
{{- $v := .Values }}
{{- if and (ne $v.mode "deployment") (ne $v.ingestion "partitioned") (or (eq $v.mode "daemonset") (gt (int $v.sharding.total) 1)) }}
{{- fail (printf "mode %s: several agents write at once, and S3Queue with one pointer silently skips objects then. Set ingestion=partitioned once the queue table keeps one pointer per writer." $v.mode) }}
{{- end }}
{{- if and (ne $v.mode "statefulset") (gt (int $v.sharding.total) 1) }}
{{- fail "sharding.total: needs mode=statefulset, whose ordinals say which part each agent has" }}
{{- end }}
{{- if and (ne $v.mode "deployment") (gt (int $v.replicas) 1) }}
{{- fail (printf "replicas: is for mode=deployment; mode %s has its own number of agents" $v.mode) }}
{{- end }}
{{- if and $v.hostMetrics.enabled (ne $v.mode "daemonset") }}
{{- fail (printf "hostMetrics: needs mode=daemonset, one agent on each node; with mode %s only the agent's own node would be read, and the job node-exporter left out" $v.mode) }}
{{- end }}
{{- if $v.spool.persistence.enabled }}
{{- if eq $v.mode "daemonset" }}
{{- fail "spool.persistence: one claim cannot be shared by the agents of all nodes" }}
{{- end }}
{{- if include "agent.election" . }}
{{- fail "spool.persistence: one claim cannot be shared by several replicas" }}
{{- end }}
{{- end }}
{{- if le (include "agent.bytes" $v.spool.size | int64) (include "agent.bytes" $v.spool.maxBytes | int64) }}
{{- fail (printf "spool.size (%s) must be above spool.maxBytes (%s): otherwise the volume is full before the agent drops the oldest object" $v.spool.size $v.spool.maxBytes) }}
{{- end }}
{{- if ne $v.credentials.source "cedana" }}
{{- $_ := required (printf "s3.bucket: credentials.source=%s does not say where to write" $v.credentials.source) $v.s3.bucket }}
{{- $_ := required (printf "s3.region: credentials.source=%s does not say where to write" $v.credentials.source) $v.s3.region }}
{{- $_ := required (printf "credentials.clusterId: credentials.source=%s does not say which cluster this is" $v.credentials.source) $v.credentials.clusterId }}
{{- end }}
{{- with $v.config }}
{{- if not (contains "0.0.0.0:9598" .) }}
{{- fail "config: needs server.listen 0.0.0.0:9598, since probes come from outside the pod (`agent default-config --kubernetes` prints such a file)" }}
{{- end }}
{{- if not (contains "/var/lib/agent/spool" .) }}
{{- fail "config: needs spool.dir /var/lib/agent/spool, where the volume is (`agent default-config --kubernetes` prints such a file)" }}
{{- end }}
{{- $needed := list "SPOOL_MAX_BYTES" }}
{{- if include "agent.election" $ }}{{ $needed = append $needed "LEADER_ELECTION" }}{{ end }}
{{- if gt (int $v.sharding.total) 1 }}{{ $needed = append $needed "SHARDS" }}{{ end }}
{{- if eq $v.mode "daemonset" }}{{ $needed = append $needed "SHARD_NODE" }}{{ end }}
{{- if $v.hostMetrics.enabled }}{{ $needed = append $needed "HOST_METRICS" }}{{ end }}
{{- if include "agent.watcher" $ }}{{ $needed = append $needed "KUBERNETES_EVENTS_ONLY" }}{{ end }}
{{- range $needed }}
{{- if not (contains . $v.config) }}
{{- fail (printf "config: does not use ${%s}, by which the chart tells the agent what these values mean: without it several agents would not know of each other, or do the same twice, or the volume would be smaller than the spool (`agent default-config --kubernetes` prints a file that does)" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if le (int $v.terminationGracePeriodSeconds) 28 }}
{{- fail "terminationGracePeriodSeconds: must be above 28, the seconds in which the agent uploads what is left and stops" }}
{{- end }}
{{- end }}
