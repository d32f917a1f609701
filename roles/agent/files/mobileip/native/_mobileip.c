/* What a registration spends most of its time on, for CPython: addresses as keys, HMAC-MD5, datagrams by the batch.
 *
 * Optional: the package does the same without it (wire/address.py, wire/authentication.py, runtime/sockets.py), and is
 * the reference. Linux only. Nothing here knows the protocol.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <structmember.h>

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* --- Address: an ipaddress.IPv4Address that is made, hashed and compared without running Python --- */

enum { KEPT_BITS = 18, KEPT = 1 << KEPT_BITS };

static PyTypeObject *ipv4_address, *address_type;
static Py_ssize_t value_at, hash_at; /* offsets: of IPv4Address._ip, and of our hash behind its slots */
static PyObject *kept[KEPT];         /* the address last made of those that share a place */

#define VALUE(self) (*(PyObject **)((char *)(self) + value_at))
#define HASH(self) (*(Py_hash_t *)((char *)(self) + hash_at))

static int is_ipv4(PyObject *o) { return Py_TYPE(o) == address_type || PyType_IsSubtype(Py_TYPE(o), ipv4_address); }

static int64_t number_of(PyObject *self)
{
	PyObject *value = VALUE(self);

	return value ? (int64_t)PyLong_AsLongLong(value) : -1;
}

static PyObject *address_made(uint32_t number)
{
	uint32_t place = (number * 2654435761u) >> (32 - KEPT_BITS);
	PyObject *self = kept[place];

	if (self && number_of(self) == number)
		return Py_NewRef(self);
	PyObject *value = PyLong_FromUnsignedLong(number);
	PyObject *text = value ? PyUnicode_FromFormat("0x%x", number) : NULL; /* hash(IPv4Address): of hex(int) */
	if (!text) {
		Py_XDECREF(value);
		return NULL;
	}
	self = address_type->tp_alloc(address_type, 0);
	if (self) {
		VALUE(self) = value;
		HASH(self) = PyObject_Hash(text);
		PyObject_GC_UnTrack(self); /* it refers to a number only */
		Py_XSETREF(kept[place], Py_NewRef(self));
	} else
		Py_DECREF(value);
	Py_DECREF(text);
	return self;
}

static PyObject *address_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *given, *plain;

	(void)type;
	(void)kwargs;
	if (!PyArg_ParseTuple(args, "O:Address", &given))
		return NULL;
	if (PyLong_CheckExact(given)) {
		int overflow;
		long long number = PyLong_AsLongLongAndOverflow(given, &overflow);

		if (!overflow && number >= 0 && number <= UINT32_MAX)
			return address_made((uint32_t)number);
	}
	plain = PyObject_CallOneArg((PyObject *)ipv4_address, given); /* raises what it raises */
	if (!plain)
		return NULL;
	int64_t number = number_of(plain);
	Py_DECREF(plain);
	return number < 0 ? NULL : address_made((uint32_t)number);
}

static int address_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	(void)self;
	(void)args;
	(void)kwargs;
	return 0; /* made whole by address_new */
}

static Py_hash_t address_hash(PyObject *self) { return HASH(self); }

static PyObject *address_compare(PyObject *self, PyObject *other, int operation)
{
	if (self == other && (operation == Py_EQ || operation == Py_NE))
		return PyBool_FromLong(operation == Py_EQ);
	if (!is_ipv4(self) || !is_ipv4(other))
		Py_RETURN_NOTIMPLEMENTED;
	int64_t a = number_of(self), b = number_of(other);
	Py_RETURN_RICHCOMPARE(a, b, operation);
}

static PyObject *address_int(PyObject *self) { return Py_NewRef(VALUE(self)); }

static PyObject *address_packed(PyObject *self, void *unused)
{
	uint32_t number = htonl((uint32_t)number_of(self));

	(void)unused;
	return PyBytes_FromStringAndSize((char *)&number, 4);
}

static PyObject *address_is_unspecified(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(number_of(self) == 0);
}

static PyObject *address_is_multicast(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(number_of(self) >> 28 == 14);
}

static PyObject *address_is_loopback(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(number_of(self) >> 24 == 127);
}

static PyGetSetDef address_properties[] = {
	{"packed", address_packed, NULL, "The four bytes of this address.", NULL},
	{"is_unspecified", address_is_unspecified, NULL, "0.0.0.0", NULL},
	{"is_multicast", address_is_multicast, NULL, "224.0.0.0/4", NULL},
	{"is_loopback", address_is_loopback, NULL, "127.0.0.0/8", NULL},
	{0},
};

static PyType_Slot address_slots[] = {
	{Py_tp_doc, "IPv4Address(number) whose hash and comparison are quick. Equal ones are often the same object."},
	{Py_tp_new, address_new},
	{Py_tp_init, address_init},
	{Py_tp_hash, address_hash},
	{Py_tp_richcompare, address_compare},
	{Py_nb_int, address_int},
	{Py_tp_getset, address_properties},
	{0, NULL},
};

static int make_address_type(PyObject *module)
{
	PyObject *ipaddress = PyImport_ImportModule("ipaddress");
	PyObject *base = ipaddress ? PyObject_GetAttrString(ipaddress, "IPv4Address") : NULL;
	PyObject *slot = base ? PyObject_GetAttrString(base, "_ip") : NULL;

	Py_XDECREF(ipaddress);
	if (!slot || !Py_IS_TYPE(slot, &PyMemberDescr_Type)) {
		Py_XDECREF(slot);
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_ImportError, "ipaddress.IPv4Address has no slot _ip");
		return -1;
	}
	ipv4_address = (PyTypeObject *)base;
	value_at = ((PyMemberDescrObject *)slot)->d_member->offset;
	hash_at = ipv4_address->tp_basicsize;
	Py_DECREF(slot);
	PyType_Spec spec = {"_mobileip.Address", (int)(hash_at + sizeof(Py_hash_t)), 0, Py_TPFLAGS_DEFAULT, address_slots};
	PyObject *bases = PyTuple_Pack(1, base);
	address_type = bases ? (PyTypeObject *)PyType_FromSpecWithBases(&spec, bases) : NULL;
	Py_XDECREF(bases);
	return address_type ? PyModule_AddObjectRef(module, "Address", (PyObject *)address_type) : -1;
}

static PyObject *address_function(PyObject *module, PyObject *number)
{
	unsigned long value = PyLong_AsUnsignedLong(number);

	(void)module;
	if (value == (unsigned long)-1 && PyErr_Occurred())
		return NULL;
	if (value > UINT32_MAX)
		return PyErr_Format(PyExc_ValueError, "%lu is no IPv4 address", value);
	return address_made((uint32_t)value);
}

/* --- HMAC-MD5 (RFC 1321, RFC 2104) --- */

static uint32_t sine[64];
static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

struct md5 {
	uint32_t h[4];
	uint64_t taken;
	uint8_t rest[64];
};

static uint32_t little(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static void md5_block(struct md5 *s, const uint8_t *block)
{
	uint32_t m[16], a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3];

	for (int i = 0; i < 16; i++)
		m[i] = little(block + 4 * i);
#define STEP(f, g, i) \
	do { \
		uint32_t t = a + (f) + sine[i] + m[(g) & 15]; \
		int r = shifts[(i) >> 4][(i) & 3]; \
		a = d; \
		d = c; \
		c = b; \
		b += t << r | t >> (32 - r); \
	} while (0)
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++)
		STEP((b & c) | (~b & d), i, i);
#pragma GCC unroll 16
	for (int i = 16; i < 32; i++)
		STEP((d & b) | (~d & c), 5 * i + 1, i);
#pragma GCC unroll 16
	for (int i = 32; i < 48; i++)
		STEP(b ^ c ^ d, 3 * i + 5, i);
#pragma GCC unroll 16
	for (int i = 48; i < 64; i++)
		STEP(c ^ (b | ~d), 7 * i, i);
	s->h[0] += a;
	s->h[1] += b;
	s->h[2] += c;
	s->h[3] += d;
}

static void md5_start(struct md5 *s)
{
	*s = (struct md5){.h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

static void md5_take(struct md5 *s, const uint8_t *data, size_t size)
{
	while (size) {
		size_t at = s->taken & 63, part = 64 - at < size ? 64 - at : size;

		memcpy(s->rest + at, data, part);
		s->taken += part;
		data += part;
		size -= part;
		if (!(s->taken & 63))
			md5_block(s, s->rest);
	}
}

static void md5_end(struct md5 *s, uint8_t digest[16])
{
	static const uint8_t padding[64] = {0x80};
	uint64_t bits = s->taken * 8;
	uint8_t length[8];

	for (int i = 0; i < 8; i++)
		length[i] = bits >> 8 * i;
	md5_take(s, padding, 1 + ((119 - (s->taken & 63)) & 63));
	md5_take(s, length, 8);
	for (int i = 0; i < 16; i++)
		digest[i] = s->h[i >> 2] >> 8 * (i & 3);
}

static void authenticate(const uint8_t *key, size_t key_size, const uint8_t *data, size_t size, uint8_t digest[16])
{
	uint8_t pad[64] = {0};
	struct md5 s;

	if (key_size > 64) {
		md5_start(&s);
		md5_take(&s, key, key_size);
		md5_end(&s, pad);
	} else
		memcpy(pad, key, key_size);
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36;
	md5_start(&s);
	md5_take(&s, pad, 64);
	md5_take(&s, data, size);
	md5_end(&s, digest);
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	md5_start(&s);
	md5_take(&s, pad, 64);
	md5_take(&s, digest, 16);
	md5_end(&s, digest);
}

static PyObject *hmac_md5(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	Py_buffer key, data;
	uint8_t digest[16];

	(void)module;
	if (count != 2)
		return PyErr_Format(PyExc_TypeError, "hmac_md5: %zd arguments, expected key and data", count);
	if (PyObject_GetBuffer(args[0], &key, PyBUF_SIMPLE))
		return NULL;
	if (PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE)) {
		PyBuffer_Release(&key);
		return NULL;
	}
	authenticate(key.buf, key.len, data.buf, data.len, digest);
	PyBuffer_Release(&key);
	PyBuffer_Release(&data);
	return PyBytes_FromStringAndSize((char *)digest, 16);
}

/* --- messages, see wire/exchange.py --- */

enum { REQUEST_SIZE = 24, REPLY_SIZE = 20, AUTHENTICATION = 22, DIGEST = 16 };

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }

/* split_request(payload) -> (form, home address, care-of address, identification) or None */
static PyObject *split_request(PyObject *module, PyObject *payload)
{
	(void)module;
	if (!PyBytes_Check(payload))
		return PyErr_Format(PyExc_TypeError, "split_request: payload must be bytes");
	const uint8_t *m = (const uint8_t *)PyBytes_AS_STRING(payload);
	Py_ssize_t size = PyBytes_GET_SIZE(payload);

	if (size < REQUEST_SIZE + AUTHENTICATION || m[0] != 1 || m[size - 22] != 32 || m[size - 21] != 20)
		Py_RETURN_NONE;
	PyObject *form = PyBytes_FromStringAndSize(NULL, 3 + 4 + size - REQUEST_SIZE - DIGEST);
	PyObject *home = address_made(get32(m + 4)), *care_of = address_made(get32(m + 12));
	PyObject *identification = PyLong_FromUnsignedLongLong(get64(m + 16)), *parts = NULL;
	if (form && home && care_of && identification && (parts = PyTuple_New(4))) {
		uint8_t *to = (uint8_t *)PyBytes_AS_STRING(form);

		memcpy(to, m + 1, 3);
		memcpy(to + 3, m + 8, 4);
		memcpy(to + 7, m + REQUEST_SIZE, size - REQUEST_SIZE - DIGEST);
		PyTuple_SET_ITEM(parts, 0, form);
		PyTuple_SET_ITEM(parts, 1, home);
		PyTuple_SET_ITEM(parts, 2, care_of);
		PyTuple_SET_ITEM(parts, 3, identification);
		return parts;
	}
	Py_XDECREF(form);
	Py_XDECREF(home);
	Py_XDECREF(care_of);
	Py_XDECREF(identification);
	return NULL;
}

/* split_reply(payload) -> (code, lifetime, home address, identification, SPI) or None */
static PyObject *split_reply(PyObject *module, PyObject *payload)
{
	(void)module;
	if (!PyBytes_Check(payload))
		return PyErr_Format(PyExc_TypeError, "split_reply: payload must be bytes");
	const uint8_t *m = (const uint8_t *)PyBytes_AS_STRING(payload);

	if (PyBytes_GET_SIZE(payload) != REPLY_SIZE + AUTHENTICATION || m[0] != 3 || m[20] != 32 || m[21] != 20)
		Py_RETURN_NONE;
	PyObject *home = address_made(get32(m + 4));
	if (!home)
		return NULL;
	return Py_BuildValue("(iiNKI)", (int)m[1], m[2] << 8 | m[3], home, (unsigned long long)get64(m + 12),
			     (unsigned int)get32(m + 22));
}

/* is_signed(key, payload): are the last 16 bytes the HMAC-MD5 of all before? In constant time. */
static PyObject *is_signed(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	uint8_t digest[DIGEST], different = 0;

	(void)module;
	if (count != 2 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1]))
		return PyErr_Format(PyExc_TypeError, "is_signed: expected key and payload as bytes");
	const uint8_t *m = (const uint8_t *)PyBytes_AS_STRING(args[1]);
	Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
	if (size < DIGEST)
		Py_RETURN_FALSE;
	authenticate((const uint8_t *)PyBytes_AS_STRING(args[0]), PyBytes_GET_SIZE(args[0]), m, size - DIGEST, digest);
	for (int i = 0; i < DIGEST; i++)
		different |= digest[i] ^ m[size - DIGEST + i];
	return PyBool_FromLong(!different);
}

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = v >> 24;
	p[1] = v >> 16;
	p[2] = v >> 8;
	p[3] = v;
}

/* make(type, flags or code, lifetime, addresses, identification, extensions, spi, key) -> the whole message */
static PyObject *make(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	(void)module;
	if (count != 8 || !PyTuple_Check(args[3]) || !PyBytes_Check(args[5]) || !PyBytes_Check(args[7]))
		return PyErr_Format(PyExc_TypeError, "make: expected 3 numbers, addresses, number, bytes, number, bytes");
	long type = PyLong_AsLong(args[0]), second = PyLong_AsLong(args[1]), lifetime = PyLong_AsLong(args[2]);
	unsigned long long identification = PyLong_AsUnsignedLongLong(args[4]);
	unsigned long spi = PyLong_AsUnsignedLong(args[6]);
	if (PyErr_Occurred())
		return NULL;
	Py_ssize_t addresses = PyTuple_GET_SIZE(args[3]), extensions = PyBytes_GET_SIZE(args[5]);
	if (second < 0 || second > 255 || lifetime < 0 || lifetime > 65535 || spi > UINT32_MAX)
		return PyErr_Format(PyExc_ValueError, "make: %ld, %ld or %lu does not fit its field", second, lifetime, spi);
	for (Py_ssize_t i = 0; i < addresses; i++)
		if (!is_ipv4(PyTuple_GET_ITEM(args[3], i)))
			return PyErr_Format(PyExc_TypeError, "make: expected IPv4 addresses");
	PyObject *message = PyBytes_FromStringAndSize(NULL, 4 + 4 * addresses + 8 + extensions + AUTHENTICATION);
	if (!message)
		return NULL;
	uint8_t *start = (uint8_t *)PyBytes_AS_STRING(message), *m = start + 4;
	start[0] = type;
	start[1] = second;
	start[2] = lifetime >> 8;
	start[3] = lifetime;
	for (Py_ssize_t i = 0; i < addresses; i++, m += 4)
		put32(m, (uint32_t)number_of(PyTuple_GET_ITEM(args[3], i)));
	put32(m, identification >> 32);
	put32(m + 4, (uint32_t)identification);
	memcpy(m + 8, PyBytes_AS_STRING(args[5]), extensions);
	m += 8 + extensions;
	m[0] = 32;
	m[1] = 20;
	put32(m + 2, spi);
	authenticate((const uint8_t *)PyBytes_AS_STRING(args[7]), PyBytes_GET_SIZE(args[7]), start, m + 6 - start, m + 6);
	return message;
}

/* --- datagrams --- */

enum { BATCH = 64, LONGEST = 8192, CONTROL = 64 };

static uint8_t payloads[BATCH][LONGEST];

/* receive(fd) -> [(payload, source, source port, destination, interface index, ttl or None)]; [] when there is none.
 * An error that is about a datagram sent earlier is passed over. The buffers are static: the GIL guards them. */
static PyObject *receive(PyObject *module, PyObject *number)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	static struct sockaddr_in peers[BATCH];
	static uint8_t controls[BATCH][CONTROL] __attribute__((aligned(8)));
	int fd = PyObject_AsFileDescriptor(number), got;

	(void)module;
	if (fd < 0)
		return NULL;
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){payloads[i], LONGEST};
		messages[i].msg_hdr = (struct msghdr){
			.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1,
			.msg_control = controls[i], .msg_controllen = CONTROL};
	}
	do
		got = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
	while (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EBADF && errno != ENOTSOCK);
	if (got < 0 && (errno == EBADF || errno == ENOTSOCK))
		return PyErr_SetFromErrno(PyExc_OSError);
	if (got < 0)
		got = 0;
	PyObject *arrivals = PyList_New(got);
	for (int i = 0; arrivals && i < got; i++) {
		struct msghdr *h = &messages[i].msg_hdr;
		struct in_pktinfo info = {0};
		int ttl = -1;

		for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
				memcpy(&info, CMSG_DATA(c), sizeof info);
			else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
				memcpy(&ttl, CMSG_DATA(c), sizeof ttl);
		}
		PyObject *payload = PyBytes_FromStringAndSize((char *)payloads[i], messages[i].msg_len);
		PyObject *source = address_made(ntohl(peers[i].sin_addr.s_addr));
		PyObject *destination = address_made(ntohl(info.ipi_addr.s_addr));
		PyObject *life = ttl < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(ttl);
		PyObject *arrival = NULL;

		if (payload && source && destination && life)
			arrival = Py_BuildValue("(NNiNiN)", payload, source, (int)ntohs(peers[i].sin_port), destination,
						info.ipi_ifindex, life);
		if (arrival)
			PyList_SET_ITEM(arrivals, i, arrival);
		else
			Py_CLEAR(arrivals);
	}
	return arrivals;
}

/* send(fd, [(payload, source, destination, port, interface index)]) -> how many went out; raises for the one behind
 * them if that is none. Never waits. */
static PyObject *send_batch(PyObject *module, PyObject *args)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	static struct sockaddr_in peers[BATCH];
	static uint8_t controls[BATCH][CONTROL] __attribute__((aligned(8)));
	PyObject *list;
	int fd, count;

	(void)module;
	if (!PyArg_ParseTuple(args, "iO!:send", &fd, &PyList_Type, &list))
		return NULL;
	count = PyList_GET_SIZE(list) < BATCH ? (int)PyList_GET_SIZE(list) : BATCH;
	for (int i = 0; i < count; i++) {
		PyObject *payload, *source, *destination;
		int port, index;

		if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "SOOii", &payload, &source, &destination, &port, &index))
			return NULL;
		if (!is_ipv4(source) || !is_ipv4(destination))
			return PyErr_Format(PyExc_TypeError, "send: source and destination must be IPv4 addresses");
		parts[i] = (struct iovec){PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)};
		peers[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port),
						.sin_addr.s_addr = htonl((uint32_t)number_of(destination))};
		struct msghdr *h = &messages[i].msg_hdr;
		*h = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i],
				     .msg_iovlen = 1, .msg_control = controls[i],
				     .msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo))};
		struct cmsghdr *c = CMSG_FIRSTHDR(h);
		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO,
				      .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
		struct in_pktinfo info = {.ipi_ifindex = index,
					  .ipi_spec_dst.s_addr = htonl((uint32_t)number_of(source))};
		memcpy(CMSG_DATA(c), &info, sizeof info);
	}
	int sent = count ? sendmmsg(fd, messages, count, MSG_DONTWAIT) : 0;
	return sent < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(sent);
}

static PyMethodDef functions[] = {
	{"address", address_function, METH_O, "address(number) -> Address"},
	{"hmac_md5", (PyCFunction)(void (*)(void))hmac_md5, METH_FASTCALL, "hmac_md5(key, data) -> 16 bytes"},
	{"is_signed", (PyCFunction)(void (*)(void))is_signed, METH_FASTCALL, "is_signed(key, payload) -> bool"},
	{"make", (PyCFunction)(void (*)(void))make, METH_FASTCALL, "make(...) -> message with its authenticator"},
	{"split_request", split_request, METH_O, "split_request(payload) -> (form, home, care-of, identification)"},
	{"split_reply", split_reply, METH_O, "split_reply(payload) -> (code, lifetime, home, identification, SPI)"},
	{"receive", receive, METH_O, "receive(fd) -> list of arrivals"},
	{"send", send_batch, METH_VARARGS, "send(fd, datagrams) -> how many"},
	{0},
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, .m_name = "_mobileip", .m_doc = "Compiled parts of mobileip.", .m_size = -1,
	.m_methods = functions,
};

PyMODINIT_FUNC PyInit__mobileip(void)
{
	PyObject *module = PyModule_Create(&definition);

	for (int i = 0; i < 64; i++)
		sine[i] = (uint32_t)(int64_t)(4294967296.0 * fabs(sin(i + 1.0)));
	if (module && make_address_type(module))
		Py_CLEAR(module);
	return module;
}
