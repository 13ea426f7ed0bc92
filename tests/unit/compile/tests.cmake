unit_test(compile verdict controller_pipeline)
