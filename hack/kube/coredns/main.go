// CoreDNS with only what a cluster's names need: a quarter of its usual size, and nearly all of it
// libraries that Kubernetes has built already. A program of its own because it takes flags of the
// process for itself.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	coremain.Run()
}
