{{- /* Names. The parts below add at most 33 characters. */ -}}
{{- define "metropolis.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 30 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 30 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 30 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- end }}

{{- /* What selects pods: (list $ "component" "gateway name, or empty"). Never change these. */ -}}
{{- define "metropolis.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: metropolis
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
metropolis.dev/gateway: {{ . }}
{{- end }}
{{- end }}

{{- define "metropolis.labels" -}}
{{ include "metropolis.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "metropolis.image" -}}
{{- $image := index . 0 -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default (index . 1) $image.tag }}{{ end }}
{{- end }}

{{- /* Both satisfy the Pod Security Standard "restricted". */ -}}
{{- define "metropolis.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "metropolis.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Of a pod: (list $ values). */ -}}
{{- define "metropolis.scheduling" -}}
{{- $root := index . 0 }}{{ $values := index . 1 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 0 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toYaml . | nindent 0 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The gateways with their defaults, as JSON: {"gateways": [...]}. */ -}}
{{- define "metropolis.gateways" -}}
{{- $gateways := list }}{{ $names := dict }}
{{- range .Values.gateways }}
{{- if hasKey $names .name }}{{ fail (printf "gateways: %q is there twice" .name) }}{{ end }}
{{- $_ := set $names .name true }}
{{- $gateways = append $gateways (mergeOverwrite (deepCopy $.Values.gatewayDefaults) (deepCopy .)) }}
{{- end }}
{{- dict "gateways" $gateways | toJson }}
{{- end }}

{{- /* NATS as our programs see it: environment and files. (list $ variable user creds-key) */ -}}
{{- define "metropolis.natsEnv" -}}
{{- $root := index . 0 }}{{ $variable := index . 1 }}{{ $user := index . 2 }}
{{- if $root.Values.nats.enabled -}}
- name: {{ $variable }}_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "metropolis.natsSecret" $root }}, key: {{ $user }}}}
- name: METROPOLIS_{{ $variable }}
  value: nats://{{ $user }}:$({{ $variable }}_PASSWORD)@{{ include "metropolis.fullname" $root }}-nats:4222
{{- else -}}
- name: METROPOLIS_{{ $variable }}
  value: {{ join "," $root.Values.nats.external.urls | quote }}
{{- if and $root.Values.nats.external.creds.secret (index . 3) }}
- name: METROPOLIS_{{ $variable }}_CREDS
  value: /etc/nats-creds/{{ index . 3 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "metropolis.natsArgs" -}}
{{- with .Values.nats.external }}
{{- if not $.Values.nats.enabled }}
{{- with .jsDomain }}
- --nats-js-domain={{ . }}
{{- end }}
{{- if .ca.secret }}
- --nats-ca=/etc/nats-ca/{{ .ca.key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "metropolis.natsMounts" -}}
{{- if not .Values.nats.enabled }}
{{- with .Values.nats.external.creds.secret }}
- {name: nats-creds, mountPath: /etc/nats-creds, readOnly: true}
{{- end }}
{{- with .Values.nats.external.ca.secret }}
- {name: nats-ca, mountPath: /etc/nats-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- /* (list $ creds-key...): only the files of this program. */ -}}
{{- define "metropolis.natsVolumes" -}}
{{- $root := index . 0 }}
{{- if not $root.Values.nats.enabled }}
{{- with $root.Values.nats.external }}
{{- if .creds.secret }}
- name: nats-creds
  secret:
    secretName: {{ .creds.secret }}
    defaultMode: 0440
    items:
    {{- range rest $ | uniq }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- end }}
{{- if .ca.secret }}
- name: nats-ca
  secret: {secretName: {{ .ca.secret }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
