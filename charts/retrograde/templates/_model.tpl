{{/* The base model: in the image, or on a claim that inference and trainer read. */}}

{{- define "retrograde.modelVolume" -}}
{{- with .Values.model.claim }}
- name: model
  persistentVolumeClaim: { claimName: {{ . | quote }}, readOnly: true }
{{- end }}
{{- end }}

{{- define "retrograde.modelMount" -}}
{{- if .Values.model.claim }}
- { name: model, mountPath: {{ .Values.model.mountPath }}, readOnly: true }
{{- end }}
{{- end }}
