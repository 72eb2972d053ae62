{{/*
Pods. Everything under /etc/retrograde is one projected volume: the settings file and, as files, the secrets that this
component needs; a Secret that changes is seen without a restart. Everything else is read-only but /tmp.
*/}}

{{/* Users and groups are the values'; one that is null there is for the platform to choose. */}}
{{- define "retrograde.podSecurity" -}}
runAsNonRoot: true
{{- range $key, $value := .Values.podSecurityContext }}
{{- if $value }}
{{ $key }}: {{ toJson $value }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "retrograde.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "retrograde.image" -}}
{{- $root := index . 0 -}}
{{- $own := (index $root.Values (index . 1)).image -}}
{{- $tag := $own.tag | default $root.Values.image.tag | default $root.Chart.AppVersion -}}
{{ $root.Values.image.prefix }}{{ $own.name | default (index . 1) }}{{ if hasPrefix "sha256:" $tag }}@{{ else }}:{{ end }}{{ $tag }}
{{- end }}

{{/* Where a pod runs, and who may be put aside for it. */}}
{{- define "retrograde.placement" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName | default (include "retrograde.priorityClass" .) }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "retrograde.spread" . }}
{{- end }}

{{/* Constraints without a labelSelector get the component's own. */}}
{{- define "retrograde.spread" -}}
{{- $it := . -}}
{{- with (index (index . 0).Values (index . 1)).topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (include "retrograde.selector" $it | fromYaml))) | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "retrograde.priorityClass" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.priorityClasses.create -}}
{{ include "retrograde.priorityName" (list $root (eq (index . 1) "job" | ternary "job" "service")) }}
{{- end -}}
{{- end }}

{{/* A class is of the whole cluster, and its value may not be changed: namespace and value are in its name. */}}
{{- define "retrograde.priorityName" -}}
{{- $root := index . 0 -}}
{{- $value := get $root.Values.priorityClasses (index . 1) | int64 -}}
{{ include "retrograde.release" $root }}-{{ $root.Release.Namespace }}-{{ index . 1 }}-{{ $value }}
{{- end }}

{{/* How long a pod may take to leave: its drain, 5 s for what is cut off, and the closing of clients and brokers. */}}
{{- define "retrograde.graceSeconds" -}}
{{ add (index (index . 0).Values (index . 1)).drainSeconds 20 }}
{{- end }}

{{/* The whole directory /etc/retrograde of a component; `secrets` is the list of what it reads of kafka and s3. */}}
{{- define "retrograde.settingsVolume" -}}
{{- $sources := include "retrograde.settingsSources" . | trim -}}
name: settings
projected:
  defaultMode: 0440
  sources: {{- if $sources }}{{ $sources | nindent 4 }}{{ else }} []{{ end }}
{{- end }}

{{- define "retrograde.settingsSources" -}}
{{- $root := index .it 0 -}}
{{- $values := $root.Values -}}
{{- if .configmap }}
- configMap: { name: {{ .configmap }} }
{{- end }}
{{- if $values.tls.enabled }}
- secret:
    name: {{ include "retrograde.tlsSecret" .it }}
    items: [{ key: tls.crt, path: tls/tls.crt }, { key: tls.key, path: tls/tls.key }, { key: ca.crt, path: tls/ca.crt }]
{{- end }}
{{- if and (has "kafka" .secrets) (include "retrograde.kafkaKeys" $root) }}
- secret:
    name: {{ $values.kafka.secretName | quote }}
    items:
      {{- range splitList " " (include "retrograde.kafkaKeys" $root) }}
      - { key: {{ . }}, path: kafka/{{ . }} }
      {{- end }}
{{- end }}
{{- if and (has "s3" .secrets) (include "retrograde.s3Keys" $root) }}
- secret:
    name: {{ $values.s3.secretName | quote }}
    items:
      {{- range splitList " " (include "retrograde.s3Keys" $root) }}
      - { key: {{ . }}, path: s3/{{ . }} }
      {{- end }}
{{- end }}
{{- if include "retrograde.takesTokens" .it }}
- secret:
    name: {{ $values.tokens.secretName | quote }}
    items: [{ key: {{ index .it 1 }}.yaml, path: tokens/tokens.yaml }]
{{- end }}
{{- end }}

{{/* The keys that the Kafka Secret must have, with spaces between; nothing when it needs none. */}}
{{- define "retrograde.kafkaKeys" -}}
{{- $kafka := .Values.kafka -}}
{{- $keys := list -}}
{{- if $kafka.tls.enabled }}{{ $keys = append $keys "ca.crt" }}{{ end -}}
{{- if $kafka.tls.clientCertificate }}{{ $keys = concat $keys (list "tls.crt" "tls.key") }}{{ end -}}
{{- if $kafka.sasl.enabled }}{{ $keys = concat $keys (list "username" "password") }}{{ end -}}
{{ join " " $keys }}
{{- end }}

{{/* Likewise of the store's. */}}
{{- define "retrograde.s3Keys" -}}
{{- $keys := eq .Values.s3.identity "keys" | ternary (list "access_key" "secret_key") list -}}
{{ join " " (concat $keys (.Values.s3.ca | ternary (list "ca.crt") list)) }}
{{- end }}

{{- define "retrograde.probes" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
startupProbe:
  grpc: { port: {{ $root.Values.ports.health }}, service: live }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add $values.startupSeconds 4) 5 }}
readinessProbe:
  grpc: { port: {{ $root.Values.ports.health }} }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  grpc: { port: {{ $root.Values.ports.health }}, service: live }
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
{{- end }}

{{/* Environment that every container has, and the component's own. */}}
{{- define "retrograde.env" -}}
- { name: HOME, value: /tmp }
{{- with (index (index . 0).Values (index . 1)).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
{it, own, secrets, mounts, volumes, ports, token}: a service's pod template. `own` are its settings (for the hash),
`mounts`, `volumes` and `ports` what it has beyond the others, as YAML; `token` says that it calls the API server.
*/}}
{{- define "retrograde.pod" -}}
{{- $root := index .it 0 -}}
{{- $name := index .it 1 -}}
{{- $values := index $root.Values $name -}}
metadata:
  annotations:
    checksum/config: {{ printf "%s%s" (include "retrograde.settings" .) (.files | default "") | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "retrograde.labels" .it | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "retrograde.name" .it }}
  automountServiceAccountToken: {{ .token | default false }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "retrograde.graceSeconds" .it }}
  securityContext:
    {{- include "retrograde.podSecurity" $root | nindent 4 }}
  {{- include "retrograde.placement" .it | nindent 2 }}
  {{- with $values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ $name }}
      image: {{ include "retrograde.image" .it }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [python, -m, services.{{ $name }}]
      args: [--config, /etc/retrograde/config.yaml]
      env:
        {{- include "retrograde.env" .it | nindent 8 }}
      ports:
        - { name: grpc, containerPort: {{ $root.Values.ports.grpc }} }
        - { name: health, containerPort: {{ $root.Values.ports.health }} }
        - { name: metrics, containerPort: {{ $root.Values.ports.metrics }} }
        {{- if include "retrograde.isPublic" .it }}
        - { name: public, containerPort: {{ $root.Values.ports.public }} }
        {{- end }}
        {{- with .ports }}
        {{- . | nindent 8 }}
        {{- end }}
      {{- include "retrograde.probes" .it | nindent 6 }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "retrograde.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - { name: settings, mountPath: /etc/retrograde, readOnly: true }
        - { name: scratch, mountPath: /tmp }
        {{- with .mounts }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - {{- include "retrograde.settingsVolume" (dict "it" .it "secrets" (.secrets | default list) "configmap" (include "retrograde.name" .it)) | nindent 6 }}
    - name: scratch
      emptyDir: { sizeLimit: {{ $values.scratchSize }} }
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
