fuzz_target(nats_proto dataplane_nats)
fuzz_target(jetstream dataplane_table)
fuzz_target(handshake dataplane_nats)
