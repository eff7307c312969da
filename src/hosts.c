/*
 * Only in a static binary: looks up host names in /etc/hosts and by DNS, whatever /etc/nsswitch.conf says.
 *
 * glibc would load the modules that are named there, each made for the C library of that system and not for the one in
 * here; with systemd's (`resolve`, `myhostname`) the process crashes. Source: "Name Service Switch" in glibc's manual, and
 * its header nss.h.
 */
#include <nss.h>

__attribute__((constructor)) static void look_up_without_modules(void)
{
    __nss_configure_lookup("hosts", "files dns");
}
