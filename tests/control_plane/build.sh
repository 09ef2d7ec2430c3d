#!/usr/bin/env bash
# Builds the real parts of the suite into the folder given: etcd, kube-apiserver, kustomize, helm, cAdvisor, and the judge. Versions
# are pinned in go/go.mod and go/cadvisor/go.mod, and everything comes from the Go module proxy. Prints the folder of the Prometheus operator's CRDs last.
# Takes about eight minutes on two cores the first time.
set -euo pipefail
OUT=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/go"
OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.85.0

# Releases are told their version when they are linked; here it is that of the module.
KUBERNETES=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
MINOR=$(cut -d. -f2 <<<"$KUBERNETES")
VERSION=k8s.io/component-base/version
CHARTUTIL=helm.sh/helm/v3/pkg/chartutil
FLAGS="-s -w -X $VERSION.gitVersion=$KUBERNETES -X $VERSION.gitMajor=1 -X $VERSION.gitMinor=$MINOR"
FLAGS+=" -X $CHARTUTIL.k8sVersionMajor=1 -X $CHARTUTIL.k8sVersionMinor=$MINOR"

for part in etcd=go.etcd.io/etcd/server/v3 kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver \
    kustomize=sigs.k8s.io/kustomize/kustomize/v5 helm=helm.sh/helm/v3/cmd/helm judge=./judge; do
    go build -p 2 -trimpath -ldflags "$FLAGS" -o "$OUT/${part%%=*}.new" "${part#*=}"
    mv "$OUT/${part%%=*}.new" "$OUT/${part%%=*}"
done
(cd cadvisor && go build -p 2 -trimpath -ldflags "-s -w" -o "$OUT/cadvisor.new" .)
mv "$OUT/cadvisor.new" "$OUT/cadvisor"
go mod download -json "$OPERATOR" | sed -n 's|.*"Dir": "\(.*\)",|\1/example/prometheus-operator-crd|p'
