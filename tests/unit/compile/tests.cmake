unit_test(compile compile controller_pipeline)
unit_test(compile verdict controller_pipeline)
