/*
 * dry_run: `metropolis-controller compile`: what the controller would make of Routes in files,
 * without Kubernetes and NATS. The same Routes and policy give the same bytes.
 */
#ifndef CONTROLLER_DRY_RUN_H
#define CONTROLLER_DRY_RUN_H

/* argv[0] is ignored. The exit code: 0, all Routes are accepted; 1, one is not; 2, wrong options,
 * or what was given cannot be read. */
int dry_run(int argc, char **argv);

#endif
