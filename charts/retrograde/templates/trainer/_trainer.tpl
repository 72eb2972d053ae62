{{/* The trainer service: runs, and the jobs that train; the only one that calls the API server. */}}
{{- define "retrograde.trainer.settings" -}}
broker: {{ include "retrograde.kafkaUrl" . }}
store: {{ include "retrograde.s3Url" . }}
inference: {{ include "retrograde.address" (list . "inference") }}
verifier: {{ include "retrograde.address" (list . "verifier") }}
rollouts: {{ include "retrograde.address" (list . "rollouts") }}
work_dir: /tmp/work
launch:
  backend: {{ .Values.job.backend }}
  namespace: {{ .Release.Namespace | quote }}
  pod_template: /etc/retrograde/job-template.yaml
  {{- if ne .Values.job.backend "local" }}
  lease: {{ include "retrograde.name" (list . "trainer") }}
  label_leader: {{ gt (int .Values.trainer.replicas) 1 }}
  {{- end }}
  queue: {{ .Values.job.queue | quote }}
  processes_per_pod: {{ .Values.job.processesPerPod }}
  ttl_seconds: {{ .Values.job.ttlSeconds }}
{{- include "retrograde.tokenSettings" (list . "trainer") }}
{{- include "retrograde.tracingSettings" . }}
{{- end }}

{{/* What training pods are made from: the controller adds names, labels, the command and the job's own settings. */}}
{{- define "retrograde.trainer.files" -}}
job-template.yaml: |
  {{- include "retrograde.jobPod" (list . "job") | nindent 2 }}
{{- end }}
