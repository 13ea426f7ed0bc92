fuzz_target(kube_watch controller_kube)
fuzz_target(yaml wire)
