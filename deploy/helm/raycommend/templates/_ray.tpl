{{- /* A probe that asks addresses of the same pod: (dict "urls" LIST "period" N "failures" N) */}}
{{- define "raycommend.probe" -}}
exec:
  command: {{ concat (list "python3" "-I" "-S" "/app/deploy/container/answers.py") .urls | toJson }}
timeoutSeconds: 5
periodSeconds: {{ .period }}
failureThreshold: {{ .failures }}
{{- end }}

{{- /* One pod of a Ray cluster: (dict "root" $ "component" NAME "ready" URLS "alive" URLS "resources" MAP "place" MAP
"prepares" BOOL "spread" BOOL) */}}
{{- define "raycommend.rayPod" -}}
metadata:
  labels:
    {{- include "raycommend.podLabels" . | nindent 4 }}
  annotations:
    # Pods start again, in a new cluster, where their settings change.
    raycommend/settings: {{ toYaml .root.Values.settings | sha256sum | trunc 16 }}
spec:
  {{- /* KubeRay gives the head an account of its own where it needs one, for the autoscaler. */}}
  {{- if ne .component "head" }}
  serviceAccountName: {{ include "raycommend.name" .root }}
  automountServiceAccountToken: false
  {{- end }}
  terminationGracePeriodSeconds: 60
  securityContext:
    {{- include "raycommend.podSecurity" .root | nindent 4 }}
  {{- with include "raycommend.imagePullSecrets" .root }}
  imagePullSecrets:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .place.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .place.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .spread }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "raycommend.podLabels" . | nindent 10 }}
  {{- end }}
  initContainers:
    {{- include "raycommend.checkSettings" .root | nindent 4 }}
    {{- if .prepares }}
    - name: prepare
      image: {{ include "raycommend.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [sh, /app/deploy/container/prepare.sh]
      env:
        {{- include "raycommend.settingsEnv" .root | nindent 8 }}
      volumeMounts:
        {{- include "raycommend.mounts" .root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "raycommend.containerSecurity" .root | nindent 8 }}
    {{- end }}
  containers:
    - name: ray
      image: {{ include "raycommend.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      ports:
        {{- if eq .component "head" }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        {{- end }}
        - {name: metrics, containerPort: 8080}
        - {name: serve, containerPort: 8000}
      env:
        {{- include "raycommend.rayEnv" .root | trim | nindent 8 }}
        {{- include "raycommend.settingsEnv" .root | nindent 8 }}
      volumeMounts:
        {{- include "raycommend.mounts" .root | nindent 8 }}
        - name: sessions
          mountPath: /tmp
      startupProbe:
        {{- include "raycommend.probe" (dict "urls" .alive "period" 5 "failures" 60) | nindent 8 }}
      readinessProbe:
        {{- include "raycommend.probe" (dict "urls" .ready "period" 5 "failures" 2) | nindent 8 }}
      livenessProbe:
        {{- include "raycommend.probe" (dict "urls" .alive "period" 10 "failures" 12) | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "raycommend.containerSecurity" .root | nindent 8 }}
  volumes:
    {{- include "raycommend.volumes" .root | nindent 4 }}
    - name: sessions
      emptyDir: {}
{{- end }}

{{- /* The spec of a RayCluster: (dict "root" $ "serves" BOOL "headCpus" N "head" MAP "worker" MAP "min" N "max" N) */}}
{{- define "raycommend.rayCluster" -}}
{{- $root := .root }}
{{- $raylet := "http://127.0.0.1:52365/api/local_raylet_healthz" }}
{{- $gcs := "http://127.0.0.1:8265/api/gcs_healthz" }}
rayVersion: {{ $root.Values.ray.version | quote }}
authOptions:
  mode: token
  secretName: {{ $root.Values.ray.auth.existingSecret }}
{{- if and .serves $root.Values.ray.autoscaling.enabled }}
enableInTreeAutoscaling: true
autoscalerOptions:
  version: v2
  upscalingMode: Default
  idleTimeoutSeconds: {{ int $root.Values.ray.autoscaling.idleTimeoutSeconds }}
  resources:
    requests: {cpu: 200m, memory: 512Mi}
    limits: {memory: 512Mi}
  securityContext:
    {{- include "raycommend.containerSecurity" $root | nindent 4 }}
{{- end }}
{{- if and .serves $root.Values.ray.gcsFaultTolerance.enabled }}
gcsFaultToleranceOptions:
  {{- with $root.Values.ray.gcsFaultTolerance }}
  redisAddress: {{ .address | default (printf "%s-gcs:6379" (include "raycommend.name" $root)) | quote }}
  redisPassword:
    {{- include "raycommend.fromSecret" . | nindent 4 }}
  {{- end }}
{{- end }}
headGroupSpec:
  rayStartParams:
    num-cpus: {{ int .headCpus | quote }}
    dashboard-host: 0.0.0.0
  template:
    {{- include "raycommend.rayPod" (dict "root" $root "component" "head" "ready" (list $raylet $gcs) "alive" (list $raylet $gcs) "resources" .head.resources "place" .head "prepares" .serves "spread" false) | nindent 4 }}
workerGroupSpecs:
  - groupName: workers
    replicas: {{ int .min }}
    minReplicas: {{ int .min }}
    maxReplicas: {{ int .max }}
    rayStartParams: {}
    template:
      {{- $ready := ternary (list $raylet "http://127.0.0.1:8000/-/healthz") (list $raylet) .serves }}
      {{- include "raycommend.rayPod" (dict "root" $root "component" (ternary "worker" "trainer" .serves) "ready" $ready "alive" (list $raylet) "resources" .worker.resources "place" .worker "prepares" false "spread" .serves) | nindent 6 }}
{{- end }}

{{- /* serve_config.yaml with the values' replicas, for all addresses of the pod. */}}
{{- define "raycommend.serveConfig" -}}
{{- $config := .Files.Get "files/serve_config.yaml" | fromYaml }}
{{- $_ := set $config.http_options "host" "0.0.0.0" }}
{{- $left := dict }}
{{- range $name, $_ := .Values.serve.deployments }}{{ $_ := set $left $name true }}{{ end }}
{{- range $application := $config.applications }}
{{- range $deployment := $application.deployments }}
{{- with index $.Values.serve.deployments $deployment.name }}
{{- $_ := unset $left $deployment.name }}
{{- if not $deployment.autoscaling_config }}{{ fail (printf "serve.deployments.%s: there is always one of it" $deployment.name) }}{{ end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "serve.deployments.%s: minReplicas is %d, above maxReplicas, %d" $deployment.name (int .minReplicas) (int .maxReplicas)) }}{{ end }}
{{- $_ := set $deployment.autoscaling_config "min_replicas" (int .minReplicas) }}
{{- $_ := set $deployment.autoscaling_config "max_replicas" (int .maxReplicas) }}
{{- $_ := set $deployment.ray_actor_options "num_cpus" .cpus }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $_ := $left }}{{ fail (printf "serve.deployments.%s: serve_config.yaml has no such deployment" $name) }}{{ end }}
{{- toYaml $config }}
{{- end }}
