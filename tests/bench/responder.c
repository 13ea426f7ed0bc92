/*
 * responder: the cheapest worker there can be, so that a benchmark measures the gateway and not who
 * answers it. It subscribes to one subject and answers every request with a fixed body; one read
 * and one write serve all that has gathered. Not an example: a worker uses a NATS client library.
 *
 *      bench_responder PORT SUBJECT BODY
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

static char in[ROOM + 1], out[ROOM];

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(fd, bytes, size);

        if (sent <= 0)
            exit(0); /* the server has gone */
        bytes += sent;
        size -= (size_t)sent;
    }
}

/* Answers the operation at the start of text, if all of it is there; returns its size, or 0. */
static size_t serve(char *text, size_t size, const char *body, size_t *out_size)
{
    char *end = memmem(text, size, "\r\n", 2);
    char reply[256];
    size_t total, line;

    if (!end)
        return 0;
    *end = '\0';
    line = (size_t)(end - text) + 2;
    if (strncmp(text, "PING", 4) == 0) {
        *out_size += (size_t)sprintf(out + *out_size, "PONG\r\n");
    } else if (sscanf(text, "HMSG %*s %*s %255s %*u %zu", reply, &total) == 2 ||
               sscanf(text, "MSG %*s %*s %255s %zu", reply, &total) == 2) {
        if (size < line + total + 2) {
            *end = '\r';
            return 0;
        }
        line += total + 2;
        *out_size +=
            (size_t)sprintf(out + *out_size, "PUB %s %zu\r\n%s\r\n", reply, strlen(body), body);
    }
    return line;
}

static void run(int fd, const char *body)
{
    size_t held = 0, done, used, out_size;
    ssize_t got;

    while ((got = read(fd, in + held, ROOM - held)) > 0) {
        held += (size_t)got;
        done = out_size = 0;
        while ((used = serve(in + done, held - done, body, &out_size)) > 0) {
            done += used;
            if (out_size > ROOM / 2) {
                write_all(fd, out, out_size);
                out_size = 0;
            }
        }
        held -= done;
        memmove(in, in + done, held);
        write_all(fd, out, out_size);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd, on = 1;
    char hello[512];

    if (argc != 4 || strlen(argv[2]) > 256 || strlen(argv[3]) > 1024) {
        fprintf(stderr, "usage: bench_responder PORT SUBJECT BODY\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror("bench_responder: connect");
        return 1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    snprintf(hello, sizeof(hello), "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB %s w 1\r\n",
             argv[2]);
    write_all(fd, hello, strlen(hello));
    run(fd, argv[3]);
    return 0;
}
