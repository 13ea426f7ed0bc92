unit_test(worker worker metropolis wire PkgConfig::NATS test_server) # wire: the gateway's side of a reply
