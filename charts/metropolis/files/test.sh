# `helm test`, in a Pod: a Route, until it is Programmed; then GET it. Fails by the Pod's deadline.
account=/var/run/secrets/kubernetes.io/serviceaccount
api=https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
route=$api/apis/metropolis.dev/v1alpha1/namespaces/$NAMESPACE/routes/$NAME
host=$NAME.$NAMESPACE.test

kube() { # the token may be asked for by nobody: not in the arguments
    curl -sS --noproxy '*' --max-time 10 --cacert $account/ca.crt \
        -H @<(printf 'Authorization: Bearer %s' "$(cat $account/token)") "$@"
}

if [ "$WORKER" ]; then
    "$WORKER" --subject metropolis-test.GET &
    trap "kill $!" EXIT
fi

echo "applying the Route $NAMESPACE/$NAME"
kube -X DELETE "$route" >/dev/null
kube --fail-with-body -X PATCH -H 'Content-Type: application/apply-patch+yaml' \
    "$route?fieldManager=helm-test" --data-binary @- <<EOF
apiVersion: metropolis.dev/v1alpha1
kind: Route
metadata: {name: $NAME}
spec:
  gateway: $GATEWAY
  hostnames: [$host]
  rules:
  - matches: [{path: {type: Exact, value: /foo}, method: GET}]
    backends: [{subject: metropolis-test.GET}]
EOF

echo; echo "waiting until it is Programmed"
until kube "$route" | tr -d ' \n' | grep -qE '"status":"True","type":"Programmed"|"type":"Programmed","status":"True"'; do
    sleep 0.5
done

echo "GET $URL/foo?data=asdf"
while :; do
    answer=$(curl -sS --noproxy '*' --max-time 10 -H "Host: $host" -w ' %{http_code}' "$URL/foo?data=asdf" || true)
    echo "$answer"
    case $answer in
    'fdsa 200') break ;;
    *'no-responders'*503) [ "$WORKER" ] || break ;; # it went through NATS and back
    esac
    sleep 0.5
done
kube -X DELETE "$route" >/dev/null
echo "passed"
