/* Load for a MIP Proxy: the nodes, their home agent, and a bare relay in the proxy's place that shows what the two can do.
 *
 *   load nodes      NODES RATE SECONDS     open loop: Poisson arrivals of RATE a second; latency counts from when due
 *   load nodes      NODES -WINDOW SECONDS  closed loop: WINDOW registrations under way at any time
 *   load home-agent NODES                  accepts every request whose authenticator is right, until killed
 *   load relay      NODES                  what a proxy does on the wire, without any rule, store or table
 *
 * Node number n has the home address HOME_BASE + n, the care-of address CARE_OF_BASE + n, and two keys, MD5 of a word
 * and n. Every authenticator is made and checked. `nodes` prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PORT = 434,
	BATCH = 64,
	SPI_NODE = 2001,
	SPI_HOME_AGENT = 3001,
	LIFETIME = 1800,
	FLAGS_NODE = 0x22, /* D: the care-of address is its own; T: reverse tunnel */
	MESSAGE = 128,
};
#define HOME_BASE 0x0a400001u    /* 10.64.0.1 */
#define CARE_OF_BASE 0xc6120000u /* 198.18.0.0; more than 131,072 nodes go on into 198.20.0.0 and so on */
#define MIPP_PUB 0xcb00710au     /* 203.0.113.10 */
#define MIPP_PRIV 0xc000020au    /* 192.0.2.10 */
#define HOME_AGENT 0xc0000228u   /* 192.0.2.40 */
#define NTP_EPOCH 2208988800ull

/* --- MD5 (RFC 1321) and HMAC (RFC 2104) from a state in which the key has been taken in --- */

typedef struct { uint32_t h[4]; } md5_state;
typedef struct { md5_state inner, outer; } hmac_key;

static const md5_state MD5_START = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
static uint32_t md5_sine[64];
static const uint8_t md5_shift[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static void md5_init(void)
{
	for (int i = 0; i < 64; i++)
		md5_sine[i] = (uint32_t)(int64_t)(4294967296.0 * fabs(sin(i + 1.0)));
}

static void md5_block(md5_state *s, const uint8_t *block)
{
	uint32_t m[16], a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3];

	memcpy(m, block, 64);
	for (int i = 0; i < 64; i++) {
		uint32_t f, t;
		int g;

		switch (i >> 4) {
		case 0: f = (b & c) | (~b & d); g = i; break;
		case 1: f = (d & b) | (~d & c); g = (5 * i + 1) & 15; break;
		case 2: f = b ^ c ^ d; g = (3 * i + 5) & 15; break;
		default: f = c ^ (b | ~d); g = (7 * i) & 15; break;
		}
		t = a + f + md5_sine[i] + m[g];
		a = d;
		d = c;
		c = b;
		int r = md5_shift[i >> 4][i & 3];
		b += (t << r) | (t >> (32 - r));
	}
	s->h[0] += a;
	s->h[1] += b;
	s->h[2] += c;
	s->h[3] += d;
}

/* The digest of `before` bytes that `s` has taken in already, and of `data`. */
static void md5_finish(md5_state s, uint64_t before, const uint8_t *data, size_t size, uint8_t out[16])
{
	uint8_t block[64];
	uint64_t bits = (before + size) * 8;

	for (; size >= 64; data += 64, size -= 64)
		md5_block(&s, data);
	memset(block, 0, 64);
	memcpy(block, data, size);
	block[size] = 0x80;
	if (size >= 56) {
		md5_block(&s, block);
		memset(block, 0, 64);
	}
	memcpy(block + 56, &bits, 8);
	md5_block(&s, block);
	memcpy(out, s.h, 16);
}

static hmac_key hmac_of(const uint8_t key[16])
{
	hmac_key k = {MD5_START, MD5_START};
	uint8_t pad[64];

	for (int i = 0; i < 64; i++)
		pad[i] = (i < 16 ? key[i] : 0) ^ 0x36;
	md5_block(&k.inner, pad);
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	md5_block(&k.outer, pad);
	return k;
}

static void hmac(const hmac_key *k, const uint8_t *data, size_t size, uint8_t out[16])
{
	uint8_t inner[16];

	md5_finish(k->inner, 64, data, size, inner);
	md5_finish(k->outer, 64, inner, 16, out);
}

/* --- messages --- */

static uint32_t nodes;
static hmac_key *node_keys, *agent_keys;

static hmac_key *keys_of(const char *word)
{
	hmac_key *keys = calloc(nodes, sizeof *keys);

	if (!keys)
		exit(2);
	for (uint32_t n = 0; n < nodes; n++) {
		uint8_t text[8], key[16];
		uint32_t number = htonl(n);

		memcpy(text, word, 4);
		memcpy(text + 4, &number, 4);
		md5_finish(MD5_START, 0, text, 8, key);
		keys[n] = hmac_of(key);
	}
	return keys;
}

static void put16(uint8_t *p, uint16_t v) { v = htons(v); memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return ntohl(v); }
static void put64(uint8_t *p, uint64_t v) { put32(p, v >> 32); put32(p + 4, (uint32_t)v); }
static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }

static size_t sign(uint8_t *m, size_t size, uint32_t spi, const hmac_key *key)
{
	m[size] = 32;
	m[size + 1] = 20;
	put32(m + size + 2, spi);
	hmac(key, m, size + 6, m + size + 6);
	return size + 22;
}

static int is_signed(const uint8_t *m, size_t size, uint32_t spi, const hmac_key *key)
{
	uint8_t want[16];

	if (size < 22 || m[size - 22] != 32 || get32(m + size - 20) != spi)
		return 0;
	hmac(key, m, size - 16, want);
	return !memcmp(want, m + size - 16, 16);
}

static size_t request(uint8_t *m, uint8_t flags, uint32_t n, uint32_t agent, uint32_t care_of, uint64_t identification)
{
	m[0] = 1;
	m[1] = flags;
	put16(m + 2, LIFETIME);
	put32(m + 4, HOME_BASE + n);
	put32(m + 8, agent);
	put32(m + 12, care_of);
	put64(m + 16, identification);
	return 24;
}

static size_t reply(uint8_t *m, uint8_t code, uint32_t n, uint32_t agent, uint64_t identification)
{
	m[0] = 3;
	m[1] = code;
	put16(m + 2, LIFETIME);
	put32(m + 4, HOME_BASE + n);
	put32(m + 8, agent);
	put64(m + 12, identification);
	return 20;
}

/* --- sockets: many datagrams a call; a datagram's own source address by IP_PKTINFO --- */

struct batch {
	struct mmsghdr h[BATCH];
	struct iovec v[BATCH];
	struct sockaddr_in peer[BATCH];
	uint8_t data[BATCH][MESSAGE];
	uint8_t control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
	unsigned int count;
};

static int udp_socket(uint32_t address)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(address)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 32 << 20;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	if (bind(fd, (void *)&a, sizeof a)) {
		perror("bind");
		exit(2);
	}
	return fd;
}

static unsigned int receive(int fd, struct batch *b)
{
	for (int i = 0; i < BATCH; i++) {
		b->v[i] = (struct iovec){b->data[i], MESSAGE};
		b->h[i].msg_hdr = (struct msghdr){
			.msg_name = &b->peer[i], .msg_namelen = sizeof b->peer[i], .msg_iov = &b->v[i], .msg_iovlen = 1};
	}
	int got = recvmmsg(fd, b->h, BATCH, MSG_DONTWAIT, NULL);
	return b->count = got < 0 ? 0 : got;
}

static void push(int fd, struct batch *b);

static void add(int fd, struct batch *b, const uint8_t *m, size_t size, uint32_t to, uint16_t port, uint32_t source)
{
	unsigned int i = b->count++;

	memcpy(b->data[i], m, size);
	b->v[i] = (struct iovec){b->data[i], size};
	b->peer[i] = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(to)};
	b->h[i].msg_hdr = (struct msghdr){
		.msg_name = &b->peer[i], .msg_namelen = sizeof b->peer[i], .msg_iov = &b->v[i], .msg_iovlen = 1};
	if (source) {
		struct msghdr *h = &b->h[i].msg_hdr;

		h->msg_control = b->control[i];
		h->msg_controllen = sizeof b->control[i];
		struct cmsghdr *c = CMSG_FIRSTHDR(h);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
		struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(source)};
		memcpy(CMSG_DATA(c), &info, sizeof info);
	}
	if (b->count == BATCH)
		push(fd, b);
}

static void push(int fd, struct batch *b)
{
	for (unsigned int at = 0; at < b->count;) {
		int sent = sendmmsg(fd, b->h + at, b->count - at, 0);

		if (sent > 0)
			at += sent;
		else if (errno == EAGAIN) {
			struct pollfd p = {fd, POLLOUT, 0};
			poll(&p, 1, 10);
		} else
			at++; /* an ICMP error about an earlier one: this one is lost, and counts as not answered */
	}
	b->count = 0;
}

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* --- the home agent --- */

static _Noreturn void home_agent(void)
{
	static struct batch in, out;
	int fd = udp_socket(HOME_AGENT);
	struct pollfd p = {fd, POLLIN, 0};

	for (;;) {
		poll(&p, 1, -1);
		while (receive(fd, &in)) {
			for (unsigned int i = 0; i < in.count; i++) {
				const uint8_t *m = in.data[i];
				uint32_t n = get32(m + 4) - HOME_BASE;
				uint8_t r[MESSAGE];

				if (in.h[i].msg_len < 46 || m[0] != 1 || n >= nodes ||
				    !is_signed(m, in.h[i].msg_len, SPI_HOME_AGENT, &agent_keys[n]))
					continue;
				size_t size = reply(r, 0, n, HOME_AGENT, get64(m + 16));
				size = sign(r, size, SPI_HOME_AGENT, &agent_keys[n]);
				add(fd, &out, r, size, ntohl(in.peer[i].sin_addr.s_addr), ntohs(in.peer[i].sin_port), 0);
			}
			push(fd, &out);
		}
	}
}

/* --- the bare relay --- */

static _Noreturn void relay(void)
{
	static struct batch in, out;
	int pub = udp_socket(MIPP_PUB), priv = udp_socket(MIPP_PRIV);
	struct pollfd p[2] = {{pub, POLLIN, 0}, {priv, POLLIN, 0}};
	uint32_t *source = calloc(nodes, sizeof *source);

	for (;;) {
		uint8_t r[MESSAGE];

		poll(p, 2, -1);
		receive(pub, &in);
		for (unsigned int i = 0; i < in.count; i++) {
			const uint8_t *m = in.data[i];
			uint32_t n = get32(m + 4) - HOME_BASE;

			if (n >= nodes || !is_signed(m, in.h[i].msg_len, SPI_NODE, &node_keys[n]))
				continue;
			source[n] = ntohl(in.peer[i].sin_addr.s_addr);
			size_t size = request(r, 0x02, n, HOME_AGENT, MIPP_PRIV, get64(m + 16));
			add(priv, &out, r, sign(r, size, SPI_HOME_AGENT, &agent_keys[n]), HOME_AGENT, PORT, 0);
		}
		push(priv, &out);
		receive(priv, &in);
		for (unsigned int i = 0; i < in.count; i++) {
			const uint8_t *m = in.data[i];
			uint32_t n = get32(m + 4) - HOME_BASE;

			if (n >= nodes || !is_signed(m, in.h[i].msg_len, SPI_HOME_AGENT, &agent_keys[n]))
				continue;
			size_t size = reply(r, m[1], n, MIPP_PUB, get64(m + 12));
			add(pub, &out, r, sign(r, size, SPI_NODE, &node_keys[n]), source[n], PORT, 0);
		}
		push(pub, &out);
	}
}

/* --- the nodes --- */

struct under_way {
	uint64_t identification;
	double due;
};

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* In milliseconds; sorts. */
static double median(float *latency, size_t count)
{
	if (!count)
		return -1.0;
	qsort(latency, count, sizeof *latency, by_value);
	return 1e3 * latency[count / 2];
}

static double uniform(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return ((x >> 11) + 1) * (1.0 / 9007199254740993.0);
}

enum { DEPTH = 8 }; /* requests of one node that may be under way: a slow proxy is asked again before it answers */

static int run_nodes(double rate, double seconds)
{
	static struct batch in, out;
	int fd = udp_socket(INADDR_ANY), window = rate < 0 ? (int)-rate : 0;
	struct under_way *under_way = calloc((size_t)nodes * DEPTH, sizeof *under_way);
	size_t most = window ? (size_t)(400000 * seconds) : (size_t)(rate * seconds * 1.1 + 10000);
	float *latency = calloc(most, sizeof *latency);
	uint64_t sent = 0, answered = 0, denied = 0, forged = 0, number = 0;
	double start = now(CLOCK_MONOTONIC), due = start, last = start, end = start + seconds;
	uint64_t step = 7919; /* a prime that divides no count of nodes used here: neighbours in time are strangers */

	if (!latency || !under_way)
		return 2;
	for (;;) {
		double t = now(CLOCK_MONOTONIC);

		while (t < end && sent < most && (window ? sent - answered - denied < (uint64_t)window : due <= t)) {
			uint32_t n = number++ * step % nodes;
			double wall = now(CLOCK_REALTIME);
			uint64_t whole = (uint64_t)wall;
			uint64_t id = (whole + NTP_EPOCH) << 32 | (uint32_t)((wall - whole) * 4294967296.0);
			uint8_t m[MESSAGE];
			size_t size = request(m, FLAGS_NODE, n, MIPP_PUB, CARE_OF_BASE + n, id);

			memcpy(m + size, "\x7e\x06\0\0", 4); /* HA Parameter, draft 2.5.3 */
			put32(m + size + 4, HOME_AGENT);
			size = sign(m, size + 8, SPI_NODE, &node_keys[n]);
			struct under_way *of_node = under_way + (size_t)n * DEPTH;
			memmove(of_node + 1, of_node, (DEPTH - 1) * sizeof *of_node);
			of_node[0] = (struct under_way){id, window ? t : due};
			add(fd, &out, m, size, MIPP_PUB, PORT, CARE_OF_BASE + n);
			sent++;
			if (!window)
				due -= log(uniform()) / rate;
		}
		push(fd, &out);
		while (receive(fd, &in)) {
			t = now(CLOCK_MONOTONIC);
			for (unsigned int i = 0; i < in.count; i++) {
				const uint8_t *m = in.data[i];
				uint32_t n = get32(m + 4) - HOME_BASE;

				if (in.h[i].msg_len < 42 || n >= nodes || !is_signed(m, in.h[i].msg_len, SPI_NODE, &node_keys[n])) {
					forged++;
					continue;
				}
				struct under_way *u = under_way + (size_t)n * DEPTH;
				for (int k = 0; k < DEPTH; k++)
					if (u[k].identification == get64(m + 12)) {
						u[k].identification = 0;
						if (m[1])
							denied++;
						else {
							latency[answered++] = t - u[k].due;
							last = t;
						}
						break;
					}
			}
		}
		t = now(CLOCK_MONOTONIC);
		if (t > end && (answered + denied >= sent || t > end + 2))
			break;
		if (window && t > last + 0.5 && t > start + 1 && t < end) { /* lost ones would hold the window shut */
			denied += sent - answered - denied;
			last = t;
		}
		double pause = window || due > end ? 0.001 : due - t;
		struct pollfd p = {fd, POLLIN, 0};
		struct timespec wait = {0, pause < 50e-6 ? 50000 : pause > 0.001 ? 1000000 : (long)(pause * 1e9)};
		ppoll(&p, 1, &wait, NULL);
	}
	double first = median(latency, answered / 5), final = median(latency + answered - answered / 5, answered / 5);
	qsort(latency, answered, sizeof *latency, by_value);
#define AT(q) (answered ? 1e3 * latency[(size_t)((answered - 1) * (q))] : -1.0)
	printf("{\"sent\": %lu, \"accepted\": %lu, \"denied_or_lost\": %lu, \"forged\": %lu, \"seconds\": %.3f, "
	       "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, "
	       "\"p50_first_fifth_ms\": %.3f, \"p50_last_fifth_ms\": %.3f}\n",
	       sent, answered, sent - answered, forged, last - start, AT(.5), AT(.99), AT(.999), AT(1.0), first, final);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3 || (!strcmp(argv[1], "nodes") && argc < 5)) {
		fprintf(stderr, "usage: load nodes NODES RATE SECONDS | load home-agent NODES | load relay NODES\n");
		return 2;
	}
	md5_init();
	nodes = strtoul(argv[2], NULL, 10);
	node_keys = keys_of("node");
	agent_keys = keys_of("home");
	if (!strcmp(argv[1], "home-agent"))
		home_agent();
	if (!strcmp(argv[1], "relay"))
		relay();
	return run_nodes(atof(argv[3]), atof(argv[4]));
}
