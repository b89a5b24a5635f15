/* A plugin for QEMU: how many instructions run from one address to another, each time.

   Arguments: from=ADDRESS,to=ADDRESS (both the entries of functions),out=FILE. QEMU brings the functions declared here;
   it is built with the number of QEMU's plugin interface in VERSION. */

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id id, struct qemu_plugin_tb *block));
void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *block, void (*run)(unsigned cpu, void *data), int flags, void *data);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*ended)(plugin_id id, void *data), void *data);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

__attribute__((visibility("default"))) int qemu_plugin_version = VERSION;

typedef struct {
    uint64_t address, instructions;
} block;

static uint64_t from, to, count;
static int counting;
static FILE *out;

static void run(unsigned cpu, void *data)
{
    const block *here = data;
    (void)cpu;
    if (here->address == from) {
        counting = 1;
        count = 0;
    } else if (here->address == to && counting) {
        counting = 0;
        fprintf(out, "%" PRIu64 "\n", count);
    }
    if (counting)
        count += here->instructions;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    block *here = malloc(sizeof *here);
    (void)id;
    here->address = qemu_plugin_tb_vaddr(tb);
    here->instructions = qemu_plugin_tb_n_insns(tb);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, run, 0, here);
}

static void ended(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "from=", 5))
            from = strtoull(argv[i] + 5, NULL, 0);
        else if (!strncmp(argv[i], "to=", 3))
            to = strtoull(argv[i] + 3, NULL, 0);
        else if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    }
    if (!out)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
