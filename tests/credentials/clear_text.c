/* An authentication plugin for MariaDB's server, for tests: as those of clouds do, it asks the client for its password
   in clear (mysql_clear_password). The token that it accepts has 1,800 characters: what the account is identified by,
   again and again. The structures are what plugin.h and plugin_auth.h of the server describe; no header is needed. */

enum { TOKEN = 1800, DENIED = 0, ACCEPTED = -1, AUTHENTICATION_PLUGIN = 7, LICENCE = 2, STABLE = 5 };

struct channel {
    int (*read_packet)(struct channel *, unsigned char **);
    int (*write_packet)(struct channel *, const unsigned char *, int);
};

struct account { /* only its beginning is of interest */
    const char *name;
    unsigned int name_length;
    const char *identified_by;
    unsigned long length;
};

struct method {
    int interface_version;
    const char *clients_plugin;
    int (*authenticate)(struct channel *, struct account *);
    void *unused[5];
};

struct plugin {
    int type;
    void *method;
    const char *name, *author, *description;
    int licence;
    int (*begin)(void *);
    int (*end)(void *);
    unsigned int version;
    void *status, *variables;
    const char *version_text;
    unsigned int maturity;
};

static int authenticate(struct channel *channel, struct account *account) {
    unsigned char *sent;
    int length, at;
    if (channel->write_packet(channel, (const unsigned char *)"", 1))
        return DENIED;
    length = channel->read_packet(channel, &sent);
    if (length != TOKEN + 1 || account->length == 0)
        return DENIED;
    for (at = 0; at < TOKEN; at++)
        if (sent[at] != (unsigned char)account->identified_by[at % account->length])
            return DENIED;
    return ACCEPTED;
}

static struct method method = {0x0201, "mysql_clear_password", authenticate, {0}};

int _maria_plugin_interface_version_ = 0x010c;
int _maria_sizeof_struct_st_plugin_ = sizeof(struct plugin);
struct plugin _maria_plugin_declarations_[] = {
    {AUTHENTICATION_PLUGIN, &method, "clear_text", "holdfast", "asks for the password in clear", LICENCE, 0, 0, 0x0100, 0,
     0, "1.0", STABLE},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};
