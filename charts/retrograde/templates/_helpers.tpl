{{- define "retrograde.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: retrograde
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
