fuzz_target(kube_watch controller_kube)
fuzz_target(kube_credential controller_kube)
fuzz_target(yaml wire)
