{{/* The name of the chart in labels. */}}
{{- define "podvitals.chartName" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of everything: the release's, with the chart's where it is not in it. */}}
{{- define "podvitals.name" -}}
{{- $chart := include "podvitals.chartName" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $chart .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $chart | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "podvitals.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "podvitals.serviceAccountName" -}}
{{- $own := ternary (include "podvitals.name" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* What the DaemonSet selects by: it can never change. */}}
{{- define "podvitals.selectorLabels" -}}
app.kubernetes.io/name: {{ include "podvitals.chartName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "podvitals.labels" -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/component" "agent"
  "app.kubernetes.io/part-of" "podvitals"
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $selector := include "podvitals.selectorLabels" . | fromYaml -}}
{{- toYaml (mergeOverwrite (dict) $labels .Values.commonLabels $selector) -}}
{{- end -}}

{{- define "podvitals.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
The listeners, as JSON: `addresses`, all of them; `port` and `scheme` of the one that the kubelet and the
cluster can reach (0 where there is none); `tls`, whether one speaks TLS.
*/}}
{{- define "podvitals.listeners" -}}
{{- $given := kindIs "string" .Values.listen | ternary (splitList "," (toString .Values.listen)) .Values.listen -}}
{{- $addresses := list -}}
{{- $port := 0 -}}
{{- $scheme := "" -}}
{{- range $given -}}
{{- $address := trim . -}}
{{- $https := hasPrefix "https://" $address -}}
{{- $plain := not (or $https (hasPrefix "unix://" $address)) -}}
{{- $loopback := regexMatch "^(127\\.|\\[::1\\])" (trimPrefix "https://" $address) -}}
{{- if and $plain (not $loopback) $.Values.access.enabled -}}
{{- fail (printf "listen: %s is plain HTTP for everybody; use https://%s, or access.enabled=false" $address $address) -}}
{{- end -}}
{{- if not (and $plain $.Values.profile.hostNetwork) -}}
{{- $addresses = append $addresses $address -}}
{{- $reachable := and (not $loopback) (or $https $plain) -}}
{{- if and $reachable (or (not $port) (and $https (eq $scheme "HTTP"))) -}}
{{- $port = regexFind "[0-9]+$" $address | int -}}
{{- $scheme = ternary "HTTPS" "HTTP" $https -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $addresses -}}
{{- fail "listen: nothing is left: with profile.hostNetwork plain addresses are left out" -}}
{{- end -}}
{{- dict "addresses" $addresses "port" $port "scheme" $scheme "tls" (contains "https://" (join "," $addresses)) | toJson -}}
{{- end -}}

{{/* The name of the port that can be reached. */}}
{{- define "podvitals.portName" -}}
{{- (include "podvitals.listeners" . | fromJson).scheme | lower -}}
{{- end -}}

{{/* Fails where there is nothing to connect to. */}}
{{- define "podvitals.reachable" -}}
{{- if not (include "podvitals.listeners" .context | fromJson).port -}}
{{- fail (printf "%s: no address in listen can be reached from outside the pod" .for) -}}
{{- end -}}
{{- end -}}

{{/* The runtime's socket; empty: none. */}}
{{- define "podvitals.socket" -}}
{{- $socket := .Values.profile.runtimeSocket -}}
{{- if kindIs "bool" $socket -}}
{{- ternary "/run/containerd/containerd.sock" "" $socket -}}
{{- else -}}
{{- $socket -}}
{{- end -}}
{{- end -}}

{{/* Who listens on that socket, as a source of names: docker or cri. */}}
{{- define "podvitals.runtime" -}}
{{- ternary "docker" "cri" (eq (base (include "podvitals.socket" .)) "docker.sock") -}}
{{- end -}}

{{/* The sources of names, with commas; a runtime socket is asked too. */}}
{{- define "podvitals.source" -}}
{{- $source := .Values.source -}}
{{- $socket := include "podvitals.socket" . -}}
{{- if and $socket (eq $source "cgroup") -}}
{{- fail "source: cgroup asks nobody, so profile.runtimeSocket would be a grant for nothing" -}}
{{- end -}}
{{- $runtime := include "podvitals.runtime" . -}}
{{- if and (has "cri" (splitList "," $source)) (not (and $socket (eq $runtime "cri"))) -}}
{{- fail "source: cri needs profile.runtimeSocket" -}}
{{- end -}}
{{- if and (has "docker" (splitList "," $source)) (not (and $socket (eq $runtime "docker"))) -}}
{{- fail "source: docker needs profile.runtimeSocket, a path that ends in /docker.sock" -}}
{{- end -}}
{{- if and $socket (ne $source "auto") (not (has $runtime (splitList "," $source))) -}}
{{- $source = printf "%s,%s" $source $runtime -}}
{{- end -}}
{{- $source -}}
{{- end -}}

{{/* Non-empty where this source of names is asked. `auto` asks the API server, and the kubelet if it has a URL. */}}
{{- define "podvitals.asks" -}}
{{- $source := include "podvitals.source" .context -}}
{{- $auto := and (eq $source "auto") (or (eq .source "kube") (and (eq .source "kubelet") .context.Values.kubelet.url)) -}}
{{- if or $auto (has .source (splitList "," $source)) -}}yes{{- end -}}
{{- end -}}

{{/* Non-empty where readers are asked who they are. */}}
{{- define "podvitals.accessControl" -}}
{{- if and .Values.access.enabled (include "podvitals.listeners" . | fromJson).tls -}}yes{{- end -}}
{{- end -}}

{{/* What the process may do at the API server: no more than its settings need. */}}
{{- define "podvitals.rules" -}}
{{- if include "podvitals.asks" (dict "context" . "source" "kube") }}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- end }}
{{- if include "podvitals.asks" (dict "context" . "source" "kubelet") }}
- apiGroups: [""]
  resources: [nodes/pods]
  verbs: [get]
{{- end }}
{{- if include "podvitals.accessControl" . }}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
{{- end -}}

{{/* The Secret with the certificate of the TLS listener; empty: the process signs one itself. */}}
{{- define "podvitals.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- if .Values.tls.secretName -}}
{{- fail "tls: either secretName or certManager.enabled" -}}
{{- end -}}
{{- printf "%s-tls" (include "podvitals.name" .) -}}
{{- else -}}
{{- .Values.tls.secretName -}}
{{- end -}}
{{- end -}}

{{- define "podvitals.hasService" -}}
{{- if or .Values.service.enabled .Values.serviceMonitor.enabled -}}yes{{- end -}}
{{- end -}}

{{/* The name by which the certificate knows the Service. */}}
{{- define "podvitals.serverName" -}}
{{- printf "%s.%s.svc" (include "podvitals.name" .) (include "podvitals.namespace" .) -}}
{{- end -}}

{{- define "podvitals.hasReader" -}}
{{- if and .Values.readerRole.create (include "podvitals.accessControl" .) -}}yes{{- end -}}
{{- end -}}

{{/* Non-empty where the reader's ServiceAccount and token are made. */}}
{{- define "podvitals.hasReaderToken" -}}
{{- if include "podvitals.accessControl" . -}}
{{- $monitor := and .Values.podMonitor.enabled (not .Values.podMonitor.authorization) (not (hasKey .Values.podMonitor.tlsConfig "cert")) -}}
{{- if or .Values.readerRole.token $monitor -}}
{{- if not .Values.readerRole.create -}}
{{- fail "podMonitor: set podMonitor.authorization or podMonitor.tlsConfig.cert, or readerRole.create=true for a token that may read" -}}
{{- end -}}
yes
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The endpoints of a monitor: one for each path. */}}
{{- define "podvitals.endpoints" -}}
{{- $root := .context -}}
{{- $monitor := .monitor -}}
{{- $scheme := include "podvitals.portName" $root -}}
{{- range $monitor.paths }}
- port: {{ $scheme }}
  scheme: {{ $scheme }}
  path: {{ . }}
  {{- with $monitor.interval }}
  interval: {{ . }}
  {{- end }}
  {{- with $monitor.scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- if eq $scheme "https" }}
  {{- if include "podvitals.accessControl" $root }}
  {{- if $monitor.authorization }}
  authorization:
    {{- toYaml $monitor.authorization | nindent 4 }}
  {{- else if include "podvitals.hasReaderToken" $root }}
  authorization:
    credentials:
      name: {{ include "podvitals.name" $root }}-reader
      key: token
  {{- else if $.ownToken }}
  bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
  {{- end }}
  {{- end }}
  tlsConfig:
    {{- if $monitor.tlsConfig }}
    {{- toYaml $monitor.tlsConfig | nindent 4 }}
    {{- else if $root.Values.tls.certManager.enabled }}
    ca:
      secret:
        name: {{ include "podvitals.tlsSecret" $root }}
        key: ca.crt
    serverName: {{ include "podvitals.serverName" $root }}
    {{- else }}
    insecureSkipVerify: true
    {{- end }}
  {{- end }}
  {{- with $monitor.relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $monitor.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Metadata of something in the namespace: call with `context` and, where it has one, `suffix`. */}}
{{- define "podvitals.metadata" -}}
name: {{ include "podvitals.name" .context }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ include "podvitals.namespace" .context }}
labels:
  {{- mergeOverwrite (dict) (default dict .labels) (include "podvitals.labels" .context | fromYaml) | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
