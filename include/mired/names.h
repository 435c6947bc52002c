/* Names and numbers that other programs and hosts rely on: set names, marks, ports, paths. */
#pragma once

#define MIRED_CONF_PATH     "/etc/mired/mired.conf"
#define MIRED_NOSPAMD_PATH  "/etc/mired/nospamd"
#define MIRED_DOMAINS_PATH  "/etc/mired/alloweddomains"
#define MIRED_LISTS_PATH    "/etc/mired/spamd.conf"
#define MIRED_SYNC_KEY_PATH "/etc/mired/sync.key"
#define MIRED_STATE_DIR     "/var/lib/mired"
#define MIRED_SOCKET_PATH   "/run/mired/mired.sock"
#define MIRED_PID_PATH      "/run/mired/mired.pid"

#define MIRED_NFT_TABLE     "mired" /* family inet */
/* Each set has an IPv6 twin whose name ends in 6. */
#define MIRED_SET_WHITE    "spamd-white"
#define MIRED_SET_NOSPAMD  "nospamd"
#define MIRED_SET_SPAMD    "spamd"
#define MIRED_SET_GREYTRAP "spamd-greytrap"

enum {
	MIRED_PORT_SMTP = 8025,
	MIRED_PORT_LOW_PRIORITY = 8027, /* SMTP for the low-priority MX */
	MIRED_PORT_SPAMD_CFG = 8026,
	MIRED_PORT_SYNC = 8025, /* UDP */
	MIRED_NFLOG_IN = 25,
	MIRED_NFLOG_OUT = 26,
	MIRED_MARK_WHITE_IN = 0x01000000,
	MIRED_MARK_TARPIT = 0x02000000,
	MIRED_MARK_OUTBOUND = 0x04000000,
};
