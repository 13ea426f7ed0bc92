unit_test(dataplane load dataplane)
unit_test(dataplane origin dataplane)
unit_test(dataplane route_metrics dataplane)
unit_test(dataplane warnings dataplane)
