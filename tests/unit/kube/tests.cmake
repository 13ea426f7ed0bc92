add_library(test_script STATIC kube/script.c)
target_link_libraries(test_script PUBLIC controller_kube PkgConfig::CMOCKA)

unit_test(kube watch controller_kube test_script)
unit_test(kube event controller_kube)
unit_test(kube config controller_kube)
unit_test(kube status controller_kube test_script)
unit_test(kube client controller_kube test_script)
