{{/* The small objects that every component has. */}}

{{/* {it, headless, leads, ports}: the Service, of the leader alone if `leads`; `ports` are further ones, as YAML. */}}
{{- define "retrograde.service" -}}
{{- $root := index .it 0 -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "retrograde.metadata" .it | nindent 2 }}
spec:
  {{- if .headless }}
  clusterIP: None
  {{- end }}
  selector:
    {{- include "retrograde.selector" .it | nindent 4 }}
    {{- if .leads }}
    retrograde.dev/leader: "true"
    {{- end }}
  ports:
    - { name: grpc, port: {{ $root.Values.ports.grpc }}, targetPort: grpc, appProtocol: grpc }
    - { name: metrics, port: {{ $root.Values.ports.metrics }}, targetPort: metrics }
    {{- if include "retrograde.isPublic" .it }}
    - { name: public, port: {{ $root.Values.ports.public }}, targetPort: public, appProtocol: grpc }
    {{- end }}
    {{- with .ports }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}

{{/*
A second, headless Service, whose name has the addresses of all pods that are ready: a connection to the first one stays
with a pod, and clients that know all of them let their calls take turns.
*/}}
{{- define "retrograde.pods" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "retrograde.metadata" (list $root (printf "%s-pods" (index . 1))) | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "retrograde.selector" . | nindent 4 }}
  ports:
    - { name: grpc, port: {{ $root.Values.ports.grpc }}, targetPort: grpc, appProtocol: grpc }
{{- end }}

{{/* {it, leads, ports}: a Service for callers from outside, with the port that takes tokens and no other. */}}
{{- define "retrograde.door" -}}
{{- $root := index .it 0 -}}
{{- $name := index .it 1 -}}
{{- $door := index $root.Values.doors $name -}}
{{- if not (include "retrograde.takesTokens" .it) }}
{{- fail (printf "doors.%s.type: there is no port that takes tokens; set tokens.secretName (inference: config.openai_port too)" $name) }}
{{- end -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "retrograde.metadata" (list $root (printf "%s-door" $name)) | nindent 2 }}
  {{- with $door.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $door.type }}
  {{- if ne $door.type "ClusterIP" }}
  externalTrafficPolicy: Local # policies see the callers' own addresses
  {{- end }}
  {{- with $door.sourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    {{- include "retrograde.selector" .it | nindent 4 }}
    {{- if .leads }}
    retrograde.dev/leader: "true"
    {{- end }}
  ports:
    {{- if include "retrograde.isPublic" .it }}
    - { name: public, port: {{ $root.Values.ports.public }}, targetPort: public, appProtocol: grpc }
    {{- end }}
    {{- with .ports }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "retrograde.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "retrograde.metadata" . | nindent 2 }}
  {{- with (index (index . 0).Values (index . 1)).serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{- define "retrograde.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "retrograde.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ (index (index . 0).Values (index . 1)).maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "retrograde.selector" . | nindent 6 }}
{{- end }}

{{/*
A ServiceMonitor, or a PodMonitor, whose targets have job="retrograde" and component="<component>". Trainers that stand by
are behind no Service, and have a PodMonitor in any case.
*/}}
{{- define "retrograde.monitor" -}}
{{- $root := index . 0 -}}
{{- $standsBy := and (eq (index . 1) "trainer") (gt (int $root.Values.trainer.replicas) 1) -}}
{{- $isPod := or $standsBy (eq $root.Values.monitoring.monitor "PodMonitor") -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ $isPod | ternary "PodMonitor" "ServiceMonitor" }}
metadata:
  {{- include "retrograde.metadata" . | nindent 2 }}
    {{- with $root.Values.monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      {{- include "retrograde.selector" . | nindent 6 }}
  {{ $isPod | ternary "podMetricsEndpoints" "endpoints" }}:
    - port: metrics
      interval: {{ $root.Values.monitoring.interval }}
      relabelings:
        - sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
          targetLabel: component
{{- end }}

{{/*
The certificate of a component, for cert-manager; it is client and server at once. Its first name says who it is when it
calls (docs/security.md), the others where it is called.
*/}}
{{- define "retrograde.certificate" -}}
{{- $root := index . 0 -}}
{{- $manager := $root.Values.tls.certManager -}}
{{- $names := list (include "retrograde.name" .) (include "retrograde.podsName" .) | uniq -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "retrograde.metadata" . | nindent 2 }}
spec:
  secretName: {{ include "retrograde.tlsSecret" . }}
  dnsNames:
    - {{ eq (index . 1) "test" | ternary "cli" (index . 1) }}.retrograde
    {{- range $names }}
    - {{ . }}
    - {{ . }}.{{ $root.Release.Namespace }}
    - {{ . }}.{{ $root.Release.Namespace }}.svc
    - {{ . }}.{{ $root.Release.Namespace }}.svc.cluster.local
    {{- end }}
    - localhost # kubectl port-forward
    {{- range (get $root.Values.doors (index . 1) | default dict).dnsNames }}
    - {{ . | quote }}
    {{- end }}
  usages: [digital signature, key encipherment, server auth, client auth]
  privateKey: { algorithm: ECDSA, size: 256, rotationPolicy: Always }
  duration: {{ $manager.duration }}
  renewBefore: {{ $manager.renewBefore }}
  issuerRef:
    {{- toYaml $manager.issuerRef | nindent 4 }}
{{- end }}

{{- define "retrograde.hasCertificates" -}}
{{- if and .Values.tls.enabled .Values.tls.certManager.enabled }}true{{ end -}}
{{- end }}
