{{- define "upright.name" -}}
{{- ternary .Release.Name (printf "%s-upright" .Release.Name) (contains "upright" .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "upright.selector" -}}
app.kubernetes.io/name: upright
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Not managed-by=upright: that label marks what the operator itself makes. */}}
{{- define "upright.labels" -}}
{{ include "upright.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
