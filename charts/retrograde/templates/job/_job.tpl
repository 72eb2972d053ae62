{{/*
The pod that a training job's pods are made from. They talk to the store, to the rollouts service and to each other, and
hold no token of the API server.
*/}}

{{/* What keeps autoscalers of nodes from moving a pod elsewhere, which would end all of its job. */}}
{{- define "retrograde.jobAnnotations" -}}
{{- if ne (index . 0).Values.job.protectedFrom "nobody" -}}
cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
karpenter.sh/do-not-disrupt: "true"
{{- end }}
{{- end }}

{{- define "retrograde.jobPod" -}}
{{- $root := index . 0 -}}
{{- $job := $root.Values.job -}}
metadata:
  {{- with mergeOverwrite (include "retrograde.jobAnnotations" . | fromYaml) $job.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  labels:
    {{- include "retrograde.labels" . | nindent 4 }}
    {{- with $job.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "retrograde.name" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: Never
  terminationGracePeriodSeconds: {{ include "retrograde.graceSeconds" . }}
  securityContext:
    {{- include "retrograde.podSecurity" $root | nindent 4 }}
  {{- include "retrograde.placement" . | nindent 2 }}
  {{- with $job.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: train
      image: {{ include "retrograde.image" . }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      env:
        {{- include "retrograde.env" . | nindent 8 }}
      resources:
        {{- toYaml $job.resources | nindent 8 }}
      securityContext:
        {{- include "retrograde.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - { name: settings, mountPath: /etc/retrograde, readOnly: true }
        - { name: scratch, mountPath: /tmp }
        - { name: shm, mountPath: /dev/shm }
        {{- with $job.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $job.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - {{- include "retrograde.settingsVolume" (dict "it" . "secrets" (list "s3")) | nindent 6 }}
    - name: scratch
      emptyDir: { sizeLimit: {{ $job.scratchSize }} }
    - name: shm
      emptyDir: { medium: Memory, sizeLimit: {{ $job.shmSize }} }
    {{- with $job.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
