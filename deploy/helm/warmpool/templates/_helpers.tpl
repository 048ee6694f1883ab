{{- define "warmpool.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "warmpool.labels" -}}
app.kubernetes.io/part-of: warmpool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The labels by which the instances of the nodes are found. */}}
{{- define "warmpool.nodeLabels" -}}
app.kubernetes.io/name: warmpool
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* A map of texts as CEL writes it. */}}
{{- define "warmpool.celMap" -}}
{ {{- $first := true -}}
{{- range $key, $value := . -}}
{{- if not $first }}, {{ end -}}{{- $first = false -}}
{{ $key | quote }}: {{ $value | toString | quote }}
{{- end -}} }
{{- end }}
