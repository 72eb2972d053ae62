{{/* The inference service: vLLM engines behind one headless name; each replica keeps the weights it fetched. */}}
{{- define "retrograde.inference.settings" -}}
store: {{ include "retrograde.s3Url" . }}
checkpoint: {{ .Values.model.checkpoint | quote }}
cache: /var/cache/retrograde
cache_bytes: {{ div (mul .Values.model.cacheGiB 1073741824 2) 3 }}
{{- if .Values.inference.config.openai_port }}
openai_host: 0.0.0.0
{{- end }}
{{- include "retrograde.tokenSettings" (list . "inference") }}
{{- include "retrograde.tracingSettings" . }}
{{- end }}

{{- define "retrograde.inference.openPorts" -}}
{{- with .Values.inference.config.openai_port }}
- {{ . }}
{{- end }}
{{- end }}

{{- define "retrograde.inference.ports" -}}
{{- with .Values.inference.config.openai_port }}
- { name: openai, containerPort: {{ . }} }
{{- end }}
{{- end }}

{{- define "retrograde.inference.servicePorts" -}}
{{- with .Values.inference.config.openai_port }}
- { name: openai, port: {{ . }}, targetPort: openai, appProtocol: http }
{{- end }}
{{- end }}

{{- define "retrograde.inference.mounts" -}}
- { name: cache, mountPath: /var/cache/retrograde }
- { name: shm, mountPath: /dev/shm }
{{- include "retrograde.modelMount" . }}
{{- end }}

{{- define "retrograde.inference.volumes" -}}
- name: cache
  emptyDir: { sizeLimit: {{ .Values.model.cacheGiB }}Gi }
- name: shm
  emptyDir: { medium: Memory, sizeLimit: {{ .Values.inference.shmSize }} }
{{- include "retrograde.modelVolume" . }}
{{- end }}
