//go:build node

package main

import (
	"context"

	"github.com/spf13/cobra"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// What a whole node runs besides the control plane's minimum. Behind a build tag because it adds a
// sixth to the time to build, and most tests need an API server only.
func init() {
	programs["kube-controller-manager"] = command(controllermanager.NewControllerManagerCommand)
	programs["kube-proxy"] = command(proxy.NewProxyCommand)
	programs["kube-scheduler"] = command(func() *cobra.Command { return scheduler.NewSchedulerCommand() })
	programs["kubelet"] = command(func() *cobra.Command {
		return kubelet.NewKubeletCommand(context.Background())
	})
}
