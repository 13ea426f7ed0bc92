/*
 * admin: see admin.h. Few and small requests from kubelet, Prometheus and people: each is answered
 * from inside its callback. /metrics asks every loop for a copy of its counters and waits for them
 * at most SNAPSHOT_TIMEOUT_MS each, see pages.c.
 *
 * /healthz says that the process runs; it never depends on NATS, or a NATS outage would have every
 * gateway restarted. /readyz says that requests can be served: a complete table on every loop, and
 * every loop was connected to NATS once. Once ready it stays so, until the drain.
 */
#include "dataplane/admin/admin.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/http/conn.h"
#include "dataplane/loop/listener.h"

enum { PAGE_MAX_BYTES = 512 * 1024 * 1024 };

struct admin {
    struct admin_sources sources;
    struct http_settings settings;
    struct http_server server;
    struct listener listener;
    struct buffer page;
    struct loop_snapshot snapshot;
    bool draining;
};

static void respond(struct admin *admin, struct conn *conn, unsigned status, struct str type)
{
    const struct http_header headers[] = {{STR_LIT("Content-Type"), type},
                                          {STR_LIT("Cache-Control"), STR_LIT("no-store")}};
    const struct http_response response = {
        .status = status,
        .headers = headers,
        .header_count = 2,
        .body = buffer_view(&admin->page),
    };

    conn_respond(conn, &response);
}

static void respond_text(struct admin *admin, struct conn *conn, unsigned status, const char *text)
{
    buffer_clear(&admin->page, 1 << 20);
    (void)buffer_printf(&admin->page, "%s\n", text);
    respond(admin, conn, status, STR_LIT("text/plain; charset=utf-8"));
}

static void respond_problem(struct admin *admin, struct conn *conn, enum problem problem,
                            const char *detail)
{
    buffer_clear(&admin->page, 1 << 20);
    (void)problem_write(problem, detail, (struct str){0}, &admin->page);
    respond(admin, conn, problem_describe(problem)->status, problem_type.value);
}

/* NULL: ready. */
static const char *unready_reason(const struct admin *admin)
{
    if (admin->draining)
        return "draining";
    if (!watch_ready(admin->sources.watch))
        return watch_reason(admin->sources.watch);
    for (size_t i = 0; i < admin->sources.loop_count; i++)
        if (!loop_was_connected(admin->sources.loops[i]))
            return "not connected to NATS yet";
    return NULL;
}

static void show_metrics(struct admin *admin, struct conn *conn)
{
    buffer_clear(&admin->page, 1 << 20);
    if (admin_write_metrics(&admin->sources, &admin->snapshot, &admin->page) < 0)
        respond_text(admin, conn, 500, "the page is too large");
    else
        respond(admin, conn, 200, STR_LIT("text/plain; version=0.0.4; charset=utf-8"));
}

static void show_table(struct admin *admin, struct conn *conn)
{
    if (!conn->peer_loopback) {
        respond_text(admin, conn, 403, "the table is shown to loopback only");
        return;
    }
    buffer_clear(&admin->page, 1 << 20);
    if (watch_dump(admin->sources.watch, &admin->page) < 0)
        respond_text(admin, conn, 500, "the table is too large to be shown");
    else
        respond(admin, conn, 200, STR_LIT("application/json"));
}

static void on_request(void *context, struct conn *conn, const struct http_request *request)
{
    struct admin *admin = context;
    const char *reason;

    if (request->method != ROUTE_METHOD_GET && request->method != ROUTE_METHOD_HEAD) {
        respond_text(admin, conn, 405, "GET and HEAD only");
    } else if (str_equal(request->path, STR_LIT("/healthz"))) {
        respond_text(admin, conn, 200, "ok");
    } else if (str_equal(request->path, STR_LIT("/readyz"))) {
        reason = unready_reason(admin);
        respond_text(admin, conn, reason ? 503 : 200, reason ? reason : "ok");
    } else if (str_equal(request->path, STR_LIT("/metrics"))) {
        show_metrics(admin, conn);
    } else if (str_equal(request->path, STR_LIT("/table"))) {
        show_table(admin, conn);
    } else {
        respond_text(admin, conn, 404, "here are /healthz, /readyz, /metrics and /table");
    }
}

static bool on_expect(void *context, struct conn *conn, const struct http_request *request)
{
    (void)context, (void)conn, (void)request;
    return true;
}

static void on_refuse(void *context, struct conn *conn, const struct http_request *request,
                      enum problem problem, const char *detail)
{
    (void)request;
    respond_problem(context, conn, problem, detail);
}

/* Nothing is ever answered later. */
static void on_nothing(void *context, struct conn *conn)
{
    (void)context, (void)conn;
}

static void on_accepted(void *context, int fd, const struct sockaddr *peer)
{
    struct admin *admin = context;

    http_server_accept(&admin->server, fd, peer);
}

int admin_new(uv_loop_t *uv, int fd, const struct admin_sources *sources, struct admin **ret_admin)
{
    const struct http_handler handler = {
        .request = on_request,
        .expect = on_expect,
        .refuse = on_refuse,
        .expired = on_nothing,
        .gone = on_nothing, /* ended is never asked: nothing is under way */
    };
    struct admin *admin = calloc(1, sizeof(*admin));
    int code;

    if (!admin)
        return -ENOMEM;
    admin->sources = *sources;
    admin->settings = (struct http_settings){
        .limits = {.target_max = 1024, .head_max = 16 * 1024, .body_max = 4096},
        .connections_max = 256,
        .buffered_max = 8 * 1024 * 1024,
        .unsent_max = PAGE_MAX_BYTES,
        .idle_timeout_ms = 75000,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .write_timeout_ms = 10000,
    };
    buffer_init(&admin->page, PAGE_MAX_BYTES);
    http_server_init(&admin->server, uv, &admin->settings, &handler);
    admin->server.handler.context = admin;
    code = listener_start(&admin->listener, uv, fd, on_accepted, admin);
    if (code < 0) {
        free(admin);
        return code;
    }
    *ret_admin = admin;
    return 0;
}

void admin_set_draining(struct admin *admin)
{
    admin->draining = true;
}

static void on_emptied(void *context)
{
    struct admin *admin = context;

    admin->server.emptied = NULL;
    http_server_done(&admin->server);
}

void admin_close(struct admin *admin)
{
    listener_stop(&admin->listener);
    http_server_stop(&admin->server, on_emptied, admin);
    http_server_abort(&admin->server);
}

void admin_free(struct admin *admin)
{
    if (!admin)
        return;
    buffer_done(&admin->page);
    free(admin);
}
