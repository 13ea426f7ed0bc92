unit_test(dataplane load dataplane)
