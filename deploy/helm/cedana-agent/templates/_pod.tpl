{{- define "agent.pod" -}}
metadata:
  labels:
    {{- include "agent.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .Values.podAnnotations .Values.config }}
  annotations:
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if .Values.config }}
    # The configuration is read at the start: a new one starts new pods.
    checksum/config: {{ sha256sum .Values.config }}
    {{- end }}
  {{- end }}
spec:
  serviceAccountName: {{ include "agent.serviceAccount" . }}
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.tolerations }}
  tolerations:
    {{- toYaml .Values.tolerations | nindent 4 }}
  {{- else if eq .Values.mode "daemonset" }}
  tolerations:
    - operator: Exists
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if include "agent.several" . }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "agent.selector" . | nindent 10 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: agent
      image: {{ include "agent.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      env:
        {{- include "agent.env" . | nindent 8 }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 9598
          protocol: TCP
      livenessProbe:
        httpGet:
          path: /healthz
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: spool
          mountPath: /var/lib/agent
        {{- if eq .Values.credentials.source "cedana" }}
        # As a file, which is read again at each refresh: a rotated token needs no restart.
        - name: cedana
          mountPath: /var/run/secrets/cedana
          readOnly: true
        {{- end }}
        {{- if .Values.config }}
        - name: config
          mountPath: /etc/agent
          readOnly: true
        {{- end }}
        {{- if .Values.hostMetrics.enabled }}
        # The host's own, whose process 1 shows its network and its mounts: no namespace of the host is needed.
        - name: host-proc
          mountPath: /host/proc
          readOnly: true
        - name: host-sys
          mountPath: /host/sys
          readOnly: true
        - name: host-root
          mountPath: /host/root
          readOnly: true
          # What is mounted later is seen too.
          mountPropagation: HostToContainer
        {{- end }}
  {{- $claimed := and .Values.spool.persistence.enabled (eq .Values.mode "statefulset") }}
  {{- if or (not $claimed) .Values.config .Values.hostMetrics.enabled (eq .Values.credentials.source "cedana") }}
  volumes:
    {{- if not .Values.spool.persistence.enabled }}
    - name: spool
      emptyDir:
        sizeLimit: {{ .Values.spool.size }}
    {{- else if not $claimed }}
    - name: spool
      persistentVolumeClaim:
        claimName: {{ include "agent.fullname" . }}-spool
    {{- end }}
    {{- if eq .Values.credentials.source "cedana" }}
    - name: cedana
      secret:
        secretName: {{ .Values.credentials.cedana.existingSecret }}
        defaultMode: 0440
        items:
          - key: {{ .Values.credentials.cedana.authTokenKey }}
            path: authToken
    {{- end }}
    {{- if .Values.config }}
    - name: config
      configMap:
        name: {{ include "agent.fullname" . }}
    {{- end }}
    {{- if .Values.hostMetrics.enabled }}
    - name: host-proc
      hostPath:
        path: /proc
    - name: host-sys
      hostPath:
        path: /sys
    - name: host-root
      hostPath:
        path: /
    {{- end }}
  {{- end }}
{{- end }}

{{- define "agent.env" -}}
{{- $v := .Values }}
{{- if eq $v.credentials.source "cedana" }}
{{- with $v.credentials.cedana.url }}
- name: CEDANA_URL
  value: {{ . | quote }}
{{- end }}
- name: CEDANA_AUTH_TOKEN_FILE
  value: /var/run/secrets/cedana/authToken
- name: CLUSTER_ID
  valueFrom:
    secretKeyRef:
      name: {{ $v.credentials.cedana.existingSecret }}
      key: {{ $v.credentials.cedana.clusterIdKey }}
{{- with $v.credentials.cedana.refreshInterval }}
- name: REFRESH_INTERVAL
  value: {{ . | quote }}
{{- end }}
{{- else }}
- name: CLUSTER_ID
  value: {{ $v.credentials.clusterId | quote }}
{{- end }}
{{- if eq $v.credentials.source "static" }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $v.credentials.static.existingSecret }}
      key: {{ $v.credentials.static.accessKeyIdKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $v.credentials.static.existingSecret }}
      key: {{ $v.credentials.static.secretAccessKeyKey }}
{{- end }}
{{- with $v.s3.bucket }}
- name: S3_BUCKET
  value: {{ . | quote }}
{{- end }}
{{- with $v.s3.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with $v.s3.prefixSuffix }}
- name: S3_PREFIX_SUFFIX
  value: {{ . | quote }}
{{- end }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: SPOOL_MAX_BYTES
  value: {{ $v.spool.maxBytes }}
{{- if include "agent.election" . }}
- name: LEADER_ELECTION
  value: "true"
{{- end }}
{{- if and (eq $v.mode "statefulset") (gt (int $v.sharding.total) 1) }}
- name: SHARDS
  value: {{ $v.sharding.total | quote }}
{{- end }}
{{- if eq $v.mode "daemonset" }}
- name: SHARD_NODE
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end }}
{{- if $v.hostMetrics.enabled }}
- name: HOST_METRICS
  value: "true"
{{- end }}
{{- if or (not $v.kubernetesEvents.enabled) (include "agent.watcher" .) }}
- name: KUBERNETES_EVENTS
  value: "false"
{{- end }}
{{- if $v.kubernetesEvents.only }}
- name: KUBERNETES_EVENTS
  value: "true"
- name: KUBERNETES_EVENTS_ONLY
  value: "true"
{{- end }}
{{- if ne $v.ingestion "plain" }}
- name: INGESTION
  value: {{ $v.ingestion }}
{{- end }}
{{- if $v.kubelet.insecureSkipVerify }}
- name: KUBELET_INSECURE_SKIP_VERIFY
  value: "true"
{{- end }}
{{- if $v.config }}
- name: AGENT_CONFIG
  value: /etc/agent/agent.yaml
{{- end }}
{{- if ne $v.logLevel "info" }}
- name: AGENT_LOG
  value: {{ $v.logLevel | quote }}
{{- end }}
{{- end }}
