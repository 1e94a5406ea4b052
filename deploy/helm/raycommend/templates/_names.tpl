{{- define "raycommend.name" -}}
{{- if contains "raycommend" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-raycommend" (.Release.Name | trunc 29 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "raycommend.selector" -}}
app.kubernetes.io/name: raycommend
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* (dict "root" $ "component" NAME) */}}
{{- define "raycommend.labels" -}}
{{ include "raycommend.selector" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- /* Labels of pods: what changes with each version would start all of them again. */}}
{{- define "raycommend.podLabels" -}}
{{ include "raycommend.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "raycommend.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "raycommend.imagePullSecrets" -}}
{{- range .Values.image.pullSecrets }}
- name: {{ . }}
{{- end }}
{{- end }}

{{- define "raycommend.claim" -}}
{{ .Values.storage.existingClaim | default (printf "%s-shared" (include "raycommend.name" .)) }}
{{- end }}

{{- define "raycommend.ownStore" -}}
{{ if not .Values.store.external.existingSecret }}yes{{ end }}
{{- end }}

{{- define "raycommend.ownMlflow" -}}
{{ if not .Values.mlflow.external.existingSecret }}yes{{ end }}
{{- end }}

{{- define "raycommend.ownDatabase" -}}
{{ if and (include "raycommend.ownMlflow" .) (not .Values.mlflow.database.existingSecret) }}yes{{ end }}
{{- end }}

{{- define "raycommend.ownGcsStore" -}}
{{ if and .Values.ray.gcsFaultTolerance.enabled (not .Values.ray.gcsFaultTolerance.address) }}yes{{ end }}
{{- end }}
