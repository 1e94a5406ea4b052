{{- define "raycommend.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "raycommend.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "raycommend.fromSecret" -}}
valueFrom:
  secretKeyRef:
    name: {{ .existingSecret }}
    key: {{ .key }}
{{- end }}

{{- /* What every process of ours has in its environment. */}}
{{- define "raycommend.settingsEnv" -}}
- name: RAYCOMMEND_ENVIRONMENT
  value: {{ .Values.environment }}
- name: RAYCOMMEND_CONFIG
  value: /etc/raycommend/settings.yaml
- name: RAYCOMMEND_STATE_DIR
  value: /var/lib/raycommend/state
- name: RAYCOMMEND_DATASET_DIR
  value: /var/lib/raycommend/data
- name: RAYCOMMEND_AUTOPILOT_JOBS_ADDRESS
  value: http://{{ include "raycommend.name" . }}-head-svc:8265
{{- if and (eq (int .Values.ray.head.cpus) 0) (not (dig "autopilot" "job_cpus" 0 .Values.settings)) }}
# A training beside Ray's head could take its memory, and with it the cluster.
- name: RAYCOMMEND_AUTOPILOT_JOB_CPUS
  value: "1"
{{- end }}
- name: RAYCOMMEND_STORE_PREFIX
  value: {{ .Values.store.prefix }}
- name: RAYCOMMEND_SECURITY_KEYS
  {{- include "raycommend.fromSecret" .Values.apiKeys | nindent 2 }}
{{- if .Values.alerts.existingSecret }}
- name: RAYCOMMEND_ALERTS_WEBHOOK
  {{- include "raycommend.fromSecret" .Values.alerts | nindent 2 }}
{{- end }}
{{- if include "raycommend.ownStore" . }}
- name: STORE_PASSWORD
  {{- include "raycommend.fromSecret" .Values.store.valkey | nindent 2 }}
- name: REDIS_URL
  value: redis://:$(STORE_PASSWORD)@{{ include "raycommend.name" . }}-store:6379/0
{{- else }}
- name: REDIS_URL
  {{- include "raycommend.fromSecret" .Values.store.external | nindent 2 }}
{{- end }}
{{- if include "raycommend.ownMlflow" . }}
- name: MLFLOW_PASSWORD
  {{- include "raycommend.fromSecret" .Values.mlflow | nindent 2 }}
- name: MLFLOW_TRACKING_URI
  value: http://raycommend:$(MLFLOW_PASSWORD)@{{ include "raycommend.name" . }}-mlflow:5000
{{- else }}
- name: MLFLOW_TRACKING_URI
  {{- include "raycommend.fromSecret" .Values.mlflow.external | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Ray's flags, from configs/ray_flags.yaml. RAY_AUTH_MODE comes from KubeRay, with the token. */}}
{{- define "raycommend.rayEnv" -}}
{{- $flags := .Files.Get "files/ray_flags.yaml" | fromYaml }}
{{- range $name, $value := merge (dict) (omit $flags.everywhere "RAY_AUTH_MODE") $flags.haproxy }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $value := (.Values.settings.proxy | default dict) }}
- name: RAYCOMMEND_PROXY_{{ upper $name }}
  value: {{ $value | toJson | quote }}
{{- end }}
{{- end }}

{{- /* For processes outside a Ray cluster that ask its jobs API. */}}
{{- define "raycommend.tokenEnv" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.ray.auth.existingSecret }}
      key: auth_token
{{- end }}

{{- define "raycommend.mounts" -}}
- name: shared
  mountPath: /var/lib/raycommend
- name: settings
  mountPath: /etc/raycommend
  readOnly: true
{{- end }}

{{- define "raycommend.volumes" -}}
- name: shared
  persistentVolumeClaim:
    claimName: {{ include "raycommend.claim" . }}
- name: settings
  configMap:
    name: {{ include "raycommend.name" . }}-settings
{{- end }}

{{- /* Stops a pod before Ray or a job starts in it, and names the setting or the secret. */}}
{{- define "raycommend.checkSettings" -}}
- name: check-settings
  image: {{ include "raycommend.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, -m, configs]
  env:
    {{- include "raycommend.settingsEnv" . | nindent 4 }}
  volumeMounts:
    {{- include "raycommend.mounts" . | nindent 4 }}
  resources:
    requests: {cpu: 100m, memory: 256Mi}
    limits: {memory: 256Mi}
  securityContext:
    {{- include "raycommend.containerSecurity" . | nindent 4 }}
{{- end }}

{{- /* A pod that runs one command of the project: (dict "root" $ "component" NAME "command" LIST "resources" MAP) */}}
{{- define "raycommend.commandPod" -}}
metadata:
  labels:
    {{- include "raycommend.podLabels" . | nindent 4 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "raycommend.name" .root }}
  automountServiceAccountToken: false
  securityContext:
    {{- include "raycommend.podSecurity" .root | nindent 4 }}
  {{- with include "raycommend.imagePullSecrets" .root }}
  imagePullSecrets:
    {{- . | nindent 4 }}
  {{- end }}
  initContainers:
    {{- include "raycommend.checkSettings" .root | nindent 4 }}
  containers:
    - name: {{ .component }}
      image: {{ include "raycommend.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: {{ .command | toJson }}
      env:
        {{- include "raycommend.settingsEnv" .root | nindent 8 }}
        {{- include "raycommend.tokenEnv" .root | nindent 8 }}
      volumeMounts:
        {{- include "raycommend.mounts" .root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "raycommend.containerSecurity" .root | nindent 8 }}
  volumes:
    {{- include "raycommend.volumes" .root | nindent 4 }}
{{- end }}
