{{- define "metropolis.natsSecret" -}}
{{ default (printf "%s-nats-users" (include "metropolis.fullname" .)) .Values.nats.existingSecret }}
{{- end }}

{{- /* Publishing rights for reading a bucket through a consumer of one's own. */ -}}
{{- define "metropolis.natsRead" -}}
{{- list
  (printf "$JS.API.STREAM.INFO.KV_%s" .)
  (printf "$JS.API.STREAM.MSG.GET.KV_%s" .)
  (printf "$JS.API.CONSUMER.CREATE.KV_%s" .)
  (printf "$JS.API.CONSUMER.CREATE.KV_%s.>" .)
  (printf "$JS.API.CONSUMER.INFO.KV_%s.*" .)
  (printf "$JS.API.CONSUMER.DELETE.KV_%s.*" .)
  (printf "$JS.FC.KV_%s.>" .) | toJson }}
{{- end }}

{{- /*
The users of NATS and what each may do; docs/SECURITY.md explains it. As JSON: {"users": [...]},
each {name, permissions} as in a server's configuration. What is reserved is denied to whoever may
have ">": no worker sees a reply to another, writes a route table, or forges what a gateway reads.
*/ -}}
{{- define "metropolis.natsUsers" -}}
{{- $reserved := list "$JS.>" "$KV.>" "$O.>" "$MQTT.>" "$SYS.>" "_INBOX.>" "_METROPOLIS.>" "_METROPOLIS_TABLE.>" "_METROPOLIS_CONTROLLER.>" }}
{{- $replies := dict "max" 65536 "expires" "1h" }}
{{- $users := list }}
{{- $owned := list }}
{{- range (include "metropolis.gateways" . | fromJson).gateways }}
{{- $bucket := printf "metropolis-%s" .name }}
{{- $subjects := concat .subjects (list "metropolis-test.>" "metropolis.cancel.*") }}
{{- $users = append $users (dict "name" (printf "gateway-%s" .name) "permissions" (dict
  "publish" (dict "allow" $subjects "deny" $reserved)
  "subscribe" (dict "allow" (list "_METROPOLIS.>")))) }}
{{- $users = append $users (dict "name" (printf "table-%s" .name) "permissions" (dict
  "publish" (dict "allow" (append (include "metropolis.natsRead" $bucket | fromJsonArray) (printf "$KV.metropolis_acks.%s.>" .name)))
  "subscribe" (dict "allow" (list "_METROPOLIS_TABLE.>")))) }}
{{- $owned = concat $owned (include "metropolis.natsRead" $bucket | fromJsonArray) (list
  (printf "$JS.API.STREAM.CREATE.KV_%s" $bucket) (printf "$JS.API.STREAM.PURGE.KV_%s" $bucket) (printf "$KV.%s.>" $bucket)) }}
{{- end }}
{{- $owned = concat $owned (include "metropolis.natsRead" "metropolis_acks" | fromJsonArray) (list "$JS.API.STREAM.CREATE.KV_metropolis_acks") }}
{{- $users = append $users (dict "name" "controller" "permissions" (dict
  "publish" (dict "allow" $owned)
  "subscribe" (dict "allow" (list "_METROPOLIS_CONTROLLER.>")))) }}
{{- range .Values.nats.workers }}
{{- $users = append $users (dict "name" .name "permissions" (dict
  "publish" (ternary (dict "allow" .publish "deny" $reserved) (dict "deny" (list ">")) (not (empty .publish)))
  "subscribe" (dict "allow" (concat .subscribe (list "metropolis.cancel.*" (printf "_INBOX_%s.>" .name))) "deny" $reserved)
  "allow_responses" $replies)) }}
{{- end }}
{{- $users = append $users (dict "name" "test" "permissions" (dict
  "publish" (dict "deny" (list ">"))
  "subscribe" (dict "allow" (list "metropolis-test.>"))
  "allow_responses" $replies)) }}
{{- dict "users" $users | toJson }}
{{- end }}

{{- /* The server's configuration. Passwords are variables: metropolis.natsVariable. */ -}}
{{- define "metropolis.natsVariable" -}}
PASSWORD_{{ . | upper | replace "-" "_" }}
{{- end }}

{{- define "metropolis.natsConfig" -}}
{{- $name := printf "%s-nats" (include "metropolis.fullname" .) -}}
server_name: $POD_NAME
port: 4222
http_port: 8222
max_payload: {{ .Values.nats.maxPayload }}
lame_duck_grace_period: 5s
lame_duck_duration: 30s
# Else one stuck worker slows every other route down: the server stalls whoever publishes to it.
no_fast_producer_stall: true
jetstream { store_dir: /data, max_memory_store: 64MB }
{{- if gt (int .Values.nats.replicas) 1 }}
cluster {
  name: {{ $name }}
  port: 6222
  authorization { user: cluster, password: $PASSWORD_CLUSTER }
  routes: [{{ range $i := until (int .Values.nats.replicas) }}$ROUTE_{{ $i }}, {{ end }}]
}
{{- end }}
accounts {
  METROPOLIS {
    jetstream: enabled
    users: [
      {{- range (include "metropolis.natsUsers" . | fromJson).users }}
      { user: {{ .name | quote }}, password: ${{ include "metropolis.natsVariable" .name }}, permissions: {{ .permissions | toJson | replace "\\u003e" ">" }} }
      {{- end }}
    ]
  }
}
{{- end }}
