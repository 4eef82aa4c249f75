/*
 * What `restante bench sp --nng PROGRAM` compares with: the same patterns by nng alone, in memory.
 *
 *   cc -O2 -o sp_nng ops/bench/sp_nng.c -lnng        (Debian: libnng-dev)
 *
 *   sp_nng hub IN OUT                     a hub without a broker: what PUBs send to IN goes to all SUBs of OUT
 *   sp_nng rep URL                        listens, and gives back what it is asked
 *   sp_nng work URL [AUTHORIZATION]       the same, but connects to a broker
 *   sp_nng ask URL SIZE WARM_MS RUN_MS [AUTHORIZATION]
 *                                         asks one question at a time; prints p50 and p99 in nanoseconds, and how many
 *
 * All but `ask` say "ready" once they are, and run until they are killed.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/transport/ws/websocket.h>

/* Messages that wait in the hub for each SUB, at most, before they are dropped; nng's own number is 16. */
#define HUB_BUFFER 1024

static void
check(const char *what, int error)
{
	if (error != 0) {
		fprintf(stderr, "%s: %s\n", what, nng_strerror(error));
		exit(1);
	}
}

static void
ready(void)
{
	puts("ready");
	fflush(stdout);
}

static uint64_t
nanos(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec);
}

static void
dial(nng_socket socket, const char *url, const char *authorization)
{
	nng_dialer dialer;

	check("dialer", nng_dialer_create(&dialer, socket, url));
	if (authorization != NULL) {
		check("header", nng_dialer_set_string(dialer, NNG_OPT_WS_REQUEST_HEADER "Authorization", authorization));
	}
	check("dial", nng_dialer_start(dialer, 0));
}

static void
hub(const char *in, const char *out)
{
	nng_socket sub, pub;

	check("sub", nng_sub0_open_raw(&sub));
	check("pub", nng_pub0_open_raw(&pub));
	check("buffer", nng_socket_set_int(pub, NNG_OPT_SENDBUF, HUB_BUFFER));
	check("buffer", nng_socket_set_int(sub, NNG_OPT_RECVBUF, HUB_BUFFER));
	check("listen", nng_listen(sub, in, NULL, 0));
	check("listen", nng_listen(pub, out, NULL, 0));
	ready();
	check("device", nng_device(sub, pub));
}

static void
answer(nng_socket rep)
{
	nng_msg *message;

	for (;;) {
		check("receive", nng_recvmsg(rep, &message, 0));
		check("send", nng_sendmsg(rep, message, 0));
	}
}

static int
compare(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *) one, b = *(const uint64_t *) other;

	return ((a > b) - (a < b));
}

static void
ask(const char *url, size_t size, uint64_t warm_ms, uint64_t run_ms, const char *authorization)
{
	nng_socket req;
	nng_msg   *message;
	size_t     n = 0, room = 1u << 16;
	uint64_t  *times = malloc(room * sizeof(*times));
	uint64_t   begin, end, before, now;

	check("req", nng_req0_open(&req));
	dial(req, url, authorization);
	check("message", nng_msg_alloc(&message, size));
	memset(nng_msg_body(message), 'x', size);
	begin = nanos() + warm_ms * 1000000u;
	end   = begin + run_ms * 1000000u;
	do {
		before = nanos();
		check("send", nng_sendmsg(req, message, 0));
		check("receive", nng_recvmsg(req, &message, 0));
		now = nanos();
		if (nng_msg_len(message) != size) {
			fprintf(stderr, "another answer\n");
			exit(1);
		}
		if (n == room) {
			room *= 2;
			times = realloc(times, room * sizeof(*times));
		}
		if (times == NULL) {
			fprintf(stderr, "no memory\n");
			exit(1);
		}
		if (before >= begin) {
			times[n++] = now - before;
		}
	} while (now < end);
	qsort(times, n, sizeof(*times), compare);
	if (n > 0) {
		printf("%llu %llu %zu\n", (unsigned long long) times[n / 2], (unsigned long long) times[n - 1 - n / 100], n);
	}
}

int
main(int argc, char **argv)
{
	nng_socket  rep;
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "hub") == 0 && argc == 4) {
		hub(argv[2], argv[3]);
	} else if (strcmp(mode, "rep") == 0 && argc == 3) {
		check("rep", nng_rep0_open(&rep));
		check("listen", nng_listen(rep, argv[2], NULL, 0));
		ready();
		answer(rep);
	} else if (strcmp(mode, "work") == 0 && (argc == 3 || argc == 4)) {
		check("rep", nng_rep0_open(&rep));
		dial(rep, argv[2], argv[3]);
		ready();
		answer(rep);
	} else if (strcmp(mode, "ask") == 0 && (argc == 6 || argc == 7)) {
		ask(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10), argv[6]);
	} else {
		fprintf(stderr, "see the head of sp_nng.c\n");
		return (2);
	}
	return (0);
}
