/*
 * The example worker: reverses a string. GET /foo?data=asdf is answered "fdsa".
 *
 * With route.yaml beside this file applied, a gateway turns GET /foo into a request to the subject
 * foo.GET, which this program answers. Start it as often as you like: the copies share the
 * requests.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/metropolis.h"

static const char usage[] =
    "Usage: reverser [--nats URL[,URL...]] [--creds FILE] [--subject SUBJECT]\n"
    "Answers the subject foo.GET with the query parameter \"data\", reversed.\n"
    "\n"
    "  --nats URL         NATS servers (METROPOLIS_NATS; default nats://127.0.0.1:4222)\n"
    "  --creds FILE       NATS credentials (METROPOLIS_NATS_CREDS)\n"
    "  --subject SUBJECT  another subject\n"
    "  --help             this text\n";

/* Bytes of a UTF-8 character stay together. */
static void reverse(const char *text, size_t length, char *out)
{
    size_t end = length;

    while (end > 0) {
        size_t begin = end - 1;

        while (begin > 0 && ((unsigned char)text[begin] & 0xc0) == 0x80)
            begin--;
        memcpy(out, text + begin, end - begin);
        out += end - begin;
        end = begin;
    }
}

static int handle_reverse(struct metropolis_request *request, void *arg)
{
    size_t length;
    const char *data = metropolis_request_query_value(request, "data", 0, &length);
    char *reversed;
    int rc;

    (void)arg;
    if (data == NULL)
        return metropolis_reply_error(request, 400, "say what to reverse: /foo?data=asdf");
    reversed = malloc(length + 1);
    if (reversed == NULL)
        return -ENOMEM;
    reverse(data, length, reversed);
    rc = metropolis_reply_header(request, "Content-Type", "text/plain; charset=utf-8");
    if (rc == 0)
        rc = metropolis_reply(request, 200, reversed, length);
    free(reversed);
    return rc;
}

static int parse_options(int argc, char **argv, struct metropolis_options *options,
                         struct metropolis_handler *handler)
{
    static const struct option known[] = {{"nats", required_argument, NULL, 'n'},
                                          {"creds", required_argument, NULL, 'c'},
                                          {"subject", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option;

    options->url = getenv("METROPOLIS_NATS");
    options->creds = getenv("METROPOLIS_NATS_CREDS");
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'n':
            options->url = optarg;
            break;
        case 'c':
            options->creds = optarg;
            break;
        case 's':
            handler->subject = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default: /* getopt has said which */
            return -EINVAL;
        }
    }
    if (optind < argc)
        fprintf(stderr, "reverser: %s: not an option\n", argv[optind]);
    return optind < argc ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
    struct metropolis_options options = {.name = "reverser"};
    struct metropolis_handler handler = {
        .subject = "foo.GET", .concurrency = 4, .handle = handle_reverse};
    struct metropolis_worker *worker = NULL;
    int rc;

    if (parse_options(argc, argv, &options, &handler) != 0) {
        fputs("reverser: --help lists the options\n", stderr);
        return 2;
    }
    rc = metropolis_worker_new(&worker, &options);
    if (rc == 0)
        rc = metropolis_handle(worker, &handler);
    if (rc == 0)
        rc = metropolis_run(worker); /* until SIGTERM or Ctrl-C, then drains */
    if (rc != 0)
        fprintf(stderr, "reverser: %s\n", strerror(-rc));
    if (rc != -ETIMEDOUT) /* else a handler still runs, and there is nothing to wait for */
        metropolis_worker_free(worker);
    return rc == 0 ? 0 : 1;
}
