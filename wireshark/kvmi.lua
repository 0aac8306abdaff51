-- KVM introspection (KVMI) for Wireshark, as faultline --pcap writes it. To use it, put this file into the folder that
-- Wireshark names as "Personal Lua Plugins", or: tshark -X lua_script:kvmi.lua -r FILE
--
-- Made by npm run build:dissector from the simulator's own protocol tables: change those, not this.

local STRUCTS = {
  kvmi_get_version_reply = {
    size = 16,
    fields = {
      { name = "version", at = 0, kind = "u32", size = 4 },
      { name = "max_msg_size", at = 4, kind = "u32", size = 4 },
      { name = "singlestep", at = 8, kind = "u8", size = 1 },
      { name = "padding", at = 9, kind = "pad", size = 7 },
    },
  },
  kvmi_vm_check_command = {
    size = 8,
    fields = {
      { name = "id", at = 0, kind = "u16", size = 2 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_vm_check_event = {
    size = 8,
    fields = {
      { name = "id", at = 0, kind = "u16", size = 2 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_vm_get_info_reply = {
    size = 16,
    fields = {
      { name = "vcpu_count", at = 0, kind = "u32", size = 4 },
      { name = "padding", at = 4, kind = "pad", size = 12 },
    },
  },
  kvmi_vcpu_control_events = {
    size = 8,
    fields = {
      { name = "event_id", at = 0, kind = "u16", size = 2 },
      { name = "enable", at = 2, kind = "u8", size = 1 },
      { name = "padding1", at = 3, kind = "pad", size = 1 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_vm_read_physical = {
    size = 16,
    fields = {
      { name = "gpa", at = 0, kind = "u64", size = 8 },
      { name = "size", at = 8, kind = "u16", size = 2 },
      { name = "padding1", at = 10, kind = "pad", size = 2 },
      { name = "padding2", at = 12, kind = "pad", size = 4 },
    },
  },
  kvmi_vm_pause_vcpu = {
    size = 8,
    fields = {
      { name = "vcpu", at = 0, kind = "u16", size = 2 },
      { name = "wait", at = 2, kind = "u8", size = 1 },
      { name = "padding1", at = 3, kind = "pad", size = 1 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_vm_control_cleanup = {
    size = 8,
    fields = { { name = "enable", at = 0, kind = "u8", size = 1 }, { name = "padding", at = 1, kind = "pad", size = 7 } },
  },
  kvmi_vm_set_page_access = {
    size = 8,
    fields = {
      { name = "count", at = 0, kind = "u16", size = 2 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_page_access_entry = {
    size = 16,
    fields = {
      { name = "gpa", at = 0, kind = "u64", size = 8 },
      { name = "access", at = 8, kind = "u8", size = 1 },
      { name = "padding", at = 9, kind = "pad", size = 7 },
    },
  },
  kvmi_vcpu_get_info_reply = { size = 8, fields = { { name = "tsc_speed", at = 0, kind = "u64", size = 8 } } },
  kvmi_vcpu_get_registers = {
    size = 8,
    fields = {
      { name = "nmsrs", at = 0, kind = "u16", size = 2 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  msr_index = { size = 4, fields = { { name = "msr", at = 0, kind = "u32", size = 4 } } },
  kvmi_vcpu_get_registers_reply = {
    size = 472,
    fields = {
      { name = "mode", at = 0, kind = "u32", size = 4 },
      { name = "padding", at = 4, kind = "pad", size = 4 },
      { name = "regs", at = 8, kind = "blob", size = 144, of = "kvm_regs" },
      { name = "sregs", at = 152, kind = "blob", size = 312, of = "kvm_sregs" },
      { name = "nmsrs", at = 464, kind = "u32", size = 4 },
      { name = "padding_msrs", at = 468, kind = "pad", size = 4 },
    },
  },
  kvm_regs = {
    size = 144,
    fields = {
      { name = "rax", at = 0, kind = "u64", size = 8 },
      { name = "rbx", at = 8, kind = "u64", size = 8 },
      { name = "rcx", at = 16, kind = "u64", size = 8 },
      { name = "rdx", at = 24, kind = "u64", size = 8 },
      { name = "rsi", at = 32, kind = "u64", size = 8 },
      { name = "rdi", at = 40, kind = "u64", size = 8 },
      { name = "rsp", at = 48, kind = "u64", size = 8 },
      { name = "rbp", at = 56, kind = "u64", size = 8 },
      { name = "r8", at = 64, kind = "u64", size = 8 },
      { name = "r9", at = 72, kind = "u64", size = 8 },
      { name = "r10", at = 80, kind = "u64", size = 8 },
      { name = "r11", at = 88, kind = "u64", size = 8 },
      { name = "r12", at = 96, kind = "u64", size = 8 },
      { name = "r13", at = 104, kind = "u64", size = 8 },
      { name = "r14", at = 112, kind = "u64", size = 8 },
      { name = "r15", at = 120, kind = "u64", size = 8 },
      { name = "rip", at = 128, kind = "u64", size = 8 },
      { name = "rflags", at = 136, kind = "u64", size = 8 },
    },
  },
  kvm_sregs = {
    size = 312,
    fields = {
      { name = "cs", at = 0, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "ds", at = 24, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "es", at = 48, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "fs", at = 72, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "gs", at = 96, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "ss", at = 120, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "tr", at = 144, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "ldt", at = 168, kind = "blob", size = 24, of = "kvm_segment" },
      { name = "gdt", at = 192, kind = "blob", size = 16, of = "kvm_dtable" },
      { name = "idt", at = 208, kind = "blob", size = 16, of = "kvm_dtable" },
      { name = "cr0", at = 224, kind = "u64", size = 8 },
      { name = "cr2", at = 232, kind = "u64", size = 8 },
      { name = "cr3", at = 240, kind = "u64", size = 8 },
      { name = "cr4", at = 248, kind = "u64", size = 8 },
      { name = "cr8", at = 256, kind = "u64", size = 8 },
      { name = "efer", at = 264, kind = "u64", size = 8 },
      { name = "apic_base", at = 272, kind = "u64", size = 8 },
      { name = "interrupt_bitmap", at = 280, kind = "blob", size = 32 },
    },
  },
  kvm_segment = {
    size = 24,
    fields = {
      { name = "base", at = 0, kind = "u64", size = 8 },
      { name = "limit", at = 8, kind = "u32", size = 4 },
      { name = "selector", at = 12, kind = "u16", size = 2 },
      { name = "type", at = 14, kind = "u8", size = 1 },
      { name = "present", at = 15, kind = "u8", size = 1 },
      { name = "dpl", at = 16, kind = "u8", size = 1 },
      { name = "db", at = 17, kind = "u8", size = 1 },
      { name = "s", at = 18, kind = "u8", size = 1 },
      { name = "l", at = 19, kind = "u8", size = 1 },
      { name = "g", at = 20, kind = "u8", size = 1 },
      { name = "avl", at = 21, kind = "u8", size = 1 },
      { name = "unusable", at = 22, kind = "u8", size = 1 },
      { name = "padding", at = 23, kind = "pad", size = 1 },
    },
  },
  kvm_dtable = {
    size = 16,
    fields = {
      { name = "base", at = 0, kind = "u64", size = 8 },
      { name = "limit", at = 8, kind = "u16", size = 2 },
      { name = "padding", at = 10, kind = "pad", size = 6 },
    },
  },
  kvm_msr_entry = {
    size = 16,
    fields = {
      { name = "index", at = 0, kind = "u32", size = 4 },
      { name = "reserved", at = 4, kind = "pad", size = 4 },
      { name = "data", at = 8, kind = "u64", size = 8 },
    },
  },
  ["kvm_regs of wire-7"] = { size = 144, fields = { { name = "regs", at = 0, kind = "blob", size = 144, of = "kvm_regs" } } },
  kvmi_vcpu_get_cpuid = {
    size = 8,
    fields = { { name = "function", at = 0, kind = "u32", size = 4 }, { name = "index", at = 4, kind = "u32", size = 4 } },
  },
  kvmi_vcpu_get_cpuid_reply = {
    size = 16,
    fields = {
      { name = "eax", at = 0, kind = "u32", size = 4 },
      { name = "ebx", at = 4, kind = "u32", size = 4 },
      { name = "ecx", at = 8, kind = "u32", size = 4 },
      { name = "edx", at = 12, kind = "u32", size = 4 },
    },
  },
  kvmi_vcpu_control_cr = {
    size = 8,
    fields = {
      { name = "cr", at = 0, kind = "u8", size = 1 },
      { name = "enable", at = 1, kind = "u8", size = 1 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_vcpu_inject_exception = {
    size = 16,
    fields = {
      { name = "nr", at = 0, kind = "u8", size = 1 },
      { name = "padding1", at = 1, kind = "pad", size = 1 },
      { name = "padding2", at = 2, kind = "pad", size = 2 },
      { name = "error_code", at = 4, kind = "u32", size = 4 },
      { name = "address", at = 8, kind = "u64", size = 8 },
    },
  },
  kvmi_vcpu_get_xcr = {
    size = 8,
    fields = { { name = "xcr", at = 0, kind = "u8", size = 1 }, { name = "padding", at = 1, kind = "pad", size = 7 } },
  },
  kvmi_vcpu_get_xcr_reply = { size = 8, fields = { { name = "value", at = 0, kind = "u64", size = 8 } } },
  kvm_xsave = { size = 4096, fields = { { name = "region", at = 0, kind = "blob", size = 4096 } } },
  kvmi_vcpu_get_mtrr_type = { size = 8, fields = { { name = "gpa", at = 0, kind = "u64", size = 8 } } },
  kvmi_vcpu_get_mtrr_type_reply = {
    size = 8,
    fields = { { name = "type", at = 0, kind = "u8", size = 1 }, { name = "padding", at = 1, kind = "pad", size = 7 } },
  },
  kvmi_vcpu_control_msr = {
    size = 8,
    fields = {
      { name = "enable", at = 0, kind = "u8", size = 1 },
      { name = "padding1", at = 1, kind = "pad", size = 1 },
      { name = "padding2", at = 2, kind = "pad", size = 2 },
      { name = "msr", at = 4, kind = "u32", size = 4 },
    },
  },
  kvmi_vcpu_control_singlestep = {
    size = 8,
    fields = { { name = "enable", at = 0, kind = "u8", size = 1 }, { name = "padding", at = 1, kind = "pad", size = 7 } },
  },
  kvmi_vcpu_translate_gva = { size = 8, fields = { { name = "gva", at = 0, kind = "u64", size = 8 } } },
  kvmi_vcpu_translate_gva_reply = { size = 8, fields = { { name = "gpa", at = 0, kind = "u64", size = 8 } } },
  kvmi_vcpu_event_breakpoint = {
    size = 16,
    fields = {
      { name = "gpa", at = 0, kind = "u64", size = 8 },
      { name = "insn_len", at = 8, kind = "u8", size = 1 },
      { name = "padding", at = 9, kind = "pad", size = 7 },
    },
  },
  kvmi_vcpu_event_cr = {
    size = 24,
    fields = {
      { name = "cr", at = 0, kind = "u8", size = 1 },
      { name = "padding", at = 1, kind = "pad", size = 7 },
      { name = "old_value", at = 8, kind = "u64", size = 8 },
      { name = "new_value", at = 16, kind = "u64", size = 8 },
    },
  },
  kvmi_vcpu_event_cr_reply = { size = 8, fields = { { name = "new_val", at = 0, kind = "u64", size = 8 } } },
  kvmi_vcpu_event_trap = {
    size = 16,
    fields = {
      { name = "nr", at = 0, kind = "u8", size = 1 },
      { name = "padding1", at = 1, kind = "pad", size = 1 },
      { name = "padding2", at = 2, kind = "pad", size = 2 },
      { name = "error_code", at = 4, kind = "u32", size = 4 },
      { name = "address", at = 8, kind = "u64", size = 8 },
    },
  },
  kvmi_vcpu_event_xsetbv = {
    size = 24,
    fields = {
      { name = "xcr", at = 0, kind = "u8", size = 1 },
      { name = "padding", at = 1, kind = "pad", size = 7 },
      { name = "old_value", at = 8, kind = "u64", size = 8 },
      { name = "new_value", at = 16, kind = "u64", size = 8 },
    },
  },
  kvmi_vcpu_event_descriptor = {
    size = 8,
    fields = {
      { name = "descriptor", at = 0, kind = "u8", size = 1 },
      { name = "write", at = 1, kind = "u8", size = 1 },
      { name = "padding", at = 2, kind = "pad", size = 6 },
    },
  },
  kvmi_vcpu_event_msr = {
    size = 24,
    fields = {
      { name = "msr", at = 0, kind = "u32", size = 4 },
      { name = "padding", at = 4, kind = "pad", size = 4 },
      { name = "old_value", at = 8, kind = "u64", size = 8 },
      { name = "new_value", at = 16, kind = "u64", size = 8 },
    },
  },
  kvmi_vcpu_event_pf = {
    size = 24,
    fields = {
      { name = "gva", at = 0, kind = "u64", size = 8 },
      { name = "gpa", at = 8, kind = "u64", size = 8 },
      { name = "access", at = 16, kind = "u8", size = 1 },
      { name = "padding1", at = 17, kind = "pad", size = 1 },
      { name = "padding2", at = 18, kind = "pad", size = 2 },
      { name = "padding3", at = 20, kind = "pad", size = 4 },
    },
  },
  kvmi_vcpu_event_singlestep = {
    size = 8,
    fields = { { name = "failed", at = 0, kind = "u8", size = 1 }, { name = "padding", at = 1, kind = "pad", size = 7 } },
  },
  kvmi_event_hdr = {
    size = 8,
    fields = { { name = "event", at = 0, kind = "u16", size = 2 }, { name = "padding", at = 2, kind = "pad", size = 6 } },
  },
  kvmi_vcpu_event = {
    size = 544,
    fields = {
      { name = "size", at = 0, kind = "u16", size = 2 },
      { name = "vcpu", at = 2, kind = "u16", size = 2 },
      { name = "padding", at = 4, kind = "pad", size = 4 },
      { name = "mode", at = 8, kind = "u8", size = 1 },
      { name = "padding_arch", at = 9, kind = "pad", size = 7 },
      { name = "regs", at = 16, kind = "blob", size = 144, of = "kvm_regs" },
      { name = "sregs", at = 160, kind = "blob", size = 312, of = "kvm_sregs" },
      { name = "sysenter_cs", at = 472, kind = "u64", size = 8 },
      { name = "sysenter_esp", at = 480, kind = "u64", size = 8 },
      { name = "sysenter_eip", at = 488, kind = "u64", size = 8 },
      { name = "efer", at = 496, kind = "u64", size = 8 },
      { name = "star", at = 504, kind = "u64", size = 8 },
      { name = "lstar", at = 512, kind = "u64", size = 8 },
      { name = "cstar", at = 520, kind = "u64", size = 8 },
      { name = "pat", at = 528, kind = "u64", size = 8 },
      { name = "shadow_gs", at = 536, kind = "u64", size = 8 },
    },
  },
  kvmi_vcpu_hdr = {
    size = 8,
    fields = {
      { name = "vcpu", at = 0, kind = "u16", size = 2 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_vcpu_event_reply = {
    size = 8,
    fields = {
      { name = "action", at = 0, kind = "u8", size = 1 },
      { name = "event", at = 1, kind = "u8", size = 1 },
      { name = "padding1", at = 2, kind = "pad", size = 2 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  ["kvmi_get_version_reply of wire-7"] = {
    size = 16,
    fields = {
      { name = "version", at = 0, kind = "u32", size = 4 },
      { name = "padding", at = 4, kind = "pad", size = 4 },
      { name = "spp", at = 8, kind = "u8", size = 1 },
      { name = "vmfunc", at = 9, kind = "u8", size = 1 },
      { name = "eptp", at = 10, kind = "u8", size = 1 },
      { name = "ve", at = 11, kind = "u8", size = 1 },
      { name = "singlestep", at = 12, kind = "u8", size = 1 },
      { name = "padding1", at = 13, kind = "pad", size = 3 },
    },
  },
  kvmi_pause_vcpu = {
    size = 8,
    fields = {
      { name = "wait", at = 0, kind = "u8", size = 1 },
      { name = "padding1", at = 1, kind = "pad", size = 1 },
      { name = "padding2", at = 2, kind = "pad", size = 2 },
      { name = "padding3", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_control_cr = {
    size = 8,
    fields = {
      { name = "enable", at = 0, kind = "u8", size = 1 },
      { name = "padding1", at = 1, kind = "pad", size = 1 },
      { name = "padding2", at = 2, kind = "pad", size = 2 },
      { name = "cr", at = 4, kind = "u32", size = 4 },
    },
  },
  kvmi_read_physical = {
    size = 16,
    fields = { { name = "gpa", at = 0, kind = "u64", size = 8 }, { name = "size", at = 8, kind = "u64", size = 8 } },
  },
  kvmi_set_page_access = {
    size = 8,
    fields = {
      { name = "view", at = 0, kind = "u16", size = 2 },
      { name = "count", at = 2, kind = "u16", size = 2 },
      { name = "padding", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_control_spp = {
    size = 8,
    fields = { { name = "enable", at = 0, kind = "u8", size = 1 }, { name = "padding", at = 1, kind = "pad", size = 7 } },
  },
  kvmi_set_page_write_bitmap = {
    size = 8,
    fields = {
      { name = "view", at = 0, kind = "u16", size = 2 },
      { name = "count", at = 2, kind = "u16", size = 2 },
      { name = "padding", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_page_write_bitmap_entry = {
    size = 16,
    fields = {
      { name = "gpa", at = 0, kind = "u64", size = 8 },
      { name = "bitmap", at = 8, kind = "u32", size = 4 },
      { name = "padding", at = 12, kind = "pad", size = 4 },
    },
  },
  kvmi_control_cmd_response = {
    size = 8,
    fields = {
      { name = "enable", at = 0, kind = "u8", size = 1 },
      { name = "now", at = 1, kind = "u8", size = 1 },
      { name = "flags", at = 2, kind = "u8", size = 1 },
      { name = "padding1", at = 3, kind = "pad", size = 1 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_set_ve_info_page = {
    size = 16,
    fields = {
      { name = "gpa", at = 0, kind = "u64", size = 8 },
      { name = "trigger_vmexit", at = 8, kind = "u8", size = 1 },
      { name = "padding", at = 9, kind = "pad", size = 7 },
    },
  },
  kvmi_get_max_gfn_reply = { size = 8, fields = { { name = "gfn", at = 0, kind = "u64", size = 8 } } },
  kvmi_switch_ept_view_req = {
    size = 8,
    fields = { { name = "view", at = 0, kind = "u16", size = 2 }, { name = "padding", at = 2, kind = "pad", size = 6 } },
  },
  kvmi_control_ept_view_req = {
    size = 8,
    fields = {
      { name = "view", at = 0, kind = "u16", size = 2 },
      { name = "visible", at = 2, kind = "u8", size = 1 },
      { name = "padding1", at = 3, kind = "pad", size = 1 },
      { name = "padding2", at = 4, kind = "pad", size = 4 },
    },
  },
  kvmi_event_pf_reply = {
    size = 272,
    fields = {
      { name = "ctx_addr", at = 0, kind = "u64", size = 8 },
      { name = "ctx_size", at = 8, kind = "u32", size = 4 },
      { name = "padding1", at = 12, kind = "pad", size = 1 },
      { name = "rep_complete", at = 13, kind = "u8", size = 1 },
      { name = "padding2", at = 14, kind = "pad", size = 2 },
      { name = "ctx_data", at = 16, kind = "blob", size = 256 },
    },
  },
  kvmi_event_cmd_error = {
    size = 16,
    fields = {
      { name = "err", at = 0, kind = "s32", size = 4 },
      { name = "msg_seq", at = 4, kind = "u32", size = 4 },
      { name = "msg_id", at = 8, kind = "u16", size = 2 },
      { name = "padding", at = 10, kind = "pad", size = 6 },
    },
  },
  kvmi_event_cpuid = {
    size = 16,
    fields = {
      { name = "function", at = 0, kind = "u32", size = 4 },
      { name = "index", at = 4, kind = "u32", size = 4 },
      { name = "insn_length", at = 8, kind = "u8", size = 1 },
      { name = "padding1", at = 9, kind = "pad", size = 3 },
      { name = "padding2", at = 12, kind = "pad", size = 4 },
    },
  },
  kvmi_event = {
    size = 544,
    fields = {
      { name = "size", at = 0, kind = "u16", size = 2 },
      { name = "vcpu", at = 2, kind = "u16", size = 2 },
      { name = "event", at = 4, kind = "u8", size = 1 },
      { name = "padding", at = 5, kind = "pad", size = 3 },
      { name = "mode", at = 8, kind = "u8", size = 1 },
      { name = "padding1", at = 9, kind = "pad", size = 1 },
      { name = "view", at = 10, kind = "u16", size = 2 },
      { name = "padding2", at = 12, kind = "pad", size = 4 },
      { name = "regs", at = 16, kind = "blob", size = 144, of = "kvm_regs" },
      { name = "sregs", at = 160, kind = "blob", size = 312, of = "kvm_sregs" },
      { name = "sysenter_cs", at = 472, kind = "u64", size = 8 },
      { name = "sysenter_esp", at = 480, kind = "u64", size = 8 },
      { name = "sysenter_eip", at = 488, kind = "u64", size = 8 },
      { name = "efer", at = 496, kind = "u64", size = 8 },
      { name = "star", at = 504, kind = "u64", size = 8 },
      { name = "lstar", at = 512, kind = "u64", size = 8 },
      { name = "cstar", at = 520, kind = "u64", size = 8 },
      { name = "pat", at = 528, kind = "u64", size = 8 },
      { name = "shadow_gs", at = 536, kind = "u64", size = 8 },
    },
  },
  kvmi_msg_hdr = {
    size = 8,
    fields = {
      { name = "id", at = 0, kind = "u16", size = 2 },
      { name = "size", at = 2, kind = "u16", size = 2 },
      { name = "seq", at = 4, kind = "u32", size = 4 },
    },
  },
  kvmi_error_code = {
    size = 8,
    fields = { { name = "err", at = 0, kind = "s32", size = 4 }, { name = "padding", at = 4, kind = "pad", size = 4 } },
  },
  qemu_vmi_to_introspector = {
    size = 104,
    fields = {
      { name = "struct_size", at = 0, kind = "u32", size = 4 },
      { name = "uuid", at = 4, kind = "blob", size = 16 },
      { name = "padding", at = 20, kind = "u32", size = 4 },
      { name = "start_time", at = 24, kind = "u64", size = 8 },
      { name = "name", at = 32, kind = "blob", size = 64 },
      { name = "max_gpa", at = 96, kind = "u64", size = 8 },
    },
  },
  qemu_vmi_from_introspector = {
    size = 24,
    fields = {
      { name = "struct_size", at = 0, kind = "u32", size = 4 },
      { name = "cookie_hash", at = 4, kind = "blob", size = 20 },
    },
  },
}
local FIELDS = {
  version = { type = "uint32", base = "DEC" },
  max_msg_size = { type = "uint32", base = "DEC" },
  singlestep = { type = "uint32", base = "HEX_DEC" },
  id = { type = "uint32", base = "DEC" },
  vcpu_count = { type = "uint32", base = "DEC" },
  event_id = { type = "uint32", base = "DEC" },
  enable = { type = "uint32", base = "DEC" },
  gpa = { type = "uint64", base = "HEX" },
  size = { type = "uint64", base = "DEC" },
  vcpu = { type = "uint32", base = "DEC" },
  wait = { type = "uint32", base = "DEC" },
  count = { type = "uint32", base = "DEC" },
  access = { type = "uint32", base = "HEX_DEC" },
  tsc_speed = { type = "uint64", base = "DEC" },
  nmsrs = { type = "uint32", base = "DEC" },
  msr = { type = "uint32", base = "HEX_DEC" },
  mode = { type = "uint32", base = "DEC" },
  rax = { type = "uint64", base = "HEX" },
  rbx = { type = "uint64", base = "HEX" },
  rcx = { type = "uint64", base = "HEX" },
  rdx = { type = "uint64", base = "HEX" },
  rsi = { type = "uint64", base = "HEX" },
  rdi = { type = "uint64", base = "HEX" },
  rsp = { type = "uint64", base = "HEX" },
  rbp = { type = "uint64", base = "HEX" },
  r8 = { type = "uint64", base = "HEX" },
  r9 = { type = "uint64", base = "HEX" },
  r10 = { type = "uint64", base = "HEX" },
  r11 = { type = "uint64", base = "HEX" },
  r12 = { type = "uint64", base = "HEX" },
  r13 = { type = "uint64", base = "HEX" },
  r14 = { type = "uint64", base = "HEX" },
  r15 = { type = "uint64", base = "HEX" },
  rip = { type = "uint64", base = "HEX" },
  rflags = { type = "uint64", base = "HEX" },
  cr0 = { type = "uint64", base = "HEX" },
  cr2 = { type = "uint64", base = "HEX" },
  cr3 = { type = "uint64", base = "HEX" },
  cr4 = { type = "uint64", base = "HEX" },
  cr8 = { type = "uint64", base = "HEX" },
  efer = { type = "uint64", base = "HEX" },
  apic_base = { type = "uint64", base = "HEX" },
  interrupt_bitmap = { type = "bytes", base = "NONE" },
  base = { type = "uint64", base = "HEX" },
  limit = { type = "uint32", base = "HEX_DEC" },
  selector = { type = "uint32", base = "HEX_DEC" },
  type = { type = "uint32", base = "HEX_DEC" },
  present = { type = "uint32", base = "HEX_DEC" },
  dpl = { type = "uint32", base = "HEX_DEC" },
  db = { type = "uint32", base = "HEX_DEC" },
  s = { type = "uint32", base = "HEX_DEC" },
  l = { type = "uint32", base = "HEX_DEC" },
  g = { type = "uint32", base = "HEX_DEC" },
  avl = { type = "uint32", base = "HEX_DEC" },
  unusable = { type = "uint32", base = "HEX_DEC" },
  index = { type = "uint32", base = "HEX_DEC" },
  data = { type = "uint64", base = "HEX" },
  ["function"] = { type = "uint32", base = "HEX_DEC" },
  eax = { type = "uint32", base = "HEX_DEC" },
  ebx = { type = "uint32", base = "HEX_DEC" },
  ecx = { type = "uint32", base = "HEX_DEC" },
  edx = { type = "uint32", base = "HEX_DEC" },
  cr = { type = "uint32", base = "DEC" },
  nr = { type = "uint32", base = "DEC" },
  error_code = { type = "uint32", base = "HEX_DEC" },
  address = { type = "uint64", base = "HEX" },
  xcr = { type = "uint32", base = "DEC" },
  value = { type = "uint64", base = "HEX" },
  region = { type = "bytes", base = "NONE" },
  gva = { type = "uint64", base = "HEX" },
  insn_len = { type = "uint32", base = "DEC" },
  old_value = { type = "uint64", base = "HEX" },
  new_value = { type = "uint64", base = "HEX" },
  new_val = { type = "uint64", base = "HEX" },
  descriptor = { type = "uint32", base = "HEX_DEC" },
  write = { type = "uint32", base = "HEX_DEC" },
  failed = { type = "uint32", base = "HEX_DEC" },
  event = { type = "uint32", base = "DEC" },
  sysenter_cs = { type = "uint64", base = "HEX" },
  sysenter_esp = { type = "uint64", base = "HEX" },
  sysenter_eip = { type = "uint64", base = "HEX" },
  star = { type = "uint64", base = "HEX" },
  lstar = { type = "uint64", base = "HEX" },
  cstar = { type = "uint64", base = "HEX" },
  pat = { type = "uint64", base = "HEX" },
  shadow_gs = { type = "uint64", base = "HEX" },
  action = { type = "uint32", base = "DEC" },
  spp = { type = "uint32", base = "HEX_DEC" },
  vmfunc = { type = "uint32", base = "HEX_DEC" },
  eptp = { type = "uint32", base = "HEX_DEC" },
  ve = { type = "uint32", base = "HEX_DEC" },
  view = { type = "uint32", base = "HEX_DEC" },
  bitmap = { type = "uint32", base = "HEX_DEC" },
  now = { type = "uint32", base = "HEX_DEC" },
  flags = { type = "uint32", base = "HEX_DEC" },
  trigger_vmexit = { type = "uint32", base = "HEX_DEC" },
  gfn = { type = "uint64", base = "HEX" },
  visible = { type = "uint32", base = "HEX_DEC" },
  ctx_addr = { type = "uint64", base = "HEX" },
  ctx_size = { type = "uint32", base = "HEX_DEC" },
  rep_complete = { type = "uint32", base = "HEX_DEC" },
  ctx_data = { type = "bytes", base = "NONE" },
  err = { type = "int32", base = "DEC" },
  msg_seq = { type = "uint32", base = "HEX_DEC" },
  msg_id = { type = "uint32", base = "HEX_DEC" },
  insn_length = { type = "uint32", base = "HEX_DEC" },
  seq = { type = "uint32", base = "DEC" },
  struct_size = { type = "uint32", base = "DEC" },
  uuid = { type = "bytes", base = "NONE" },
  padding = { type = "uint32", base = "HEX_DEC" },
  start_time = { type = "uint64", base = "DEC" },
  name = { type = "bytes", base = "NONE" },
  max_gpa = { type = "uint64", base = "HEX" },
  cookie_hash = { type = "bytes", base = "NONE" },
}
local WIRES = {
  kvmi12 = {
    title = "wire-12",
    commands = {
      [2] = { name = "KVMI_GET_VERSION", reply = "kvmi_get_version_reply" },
      [4] = { name = "KVMI_VM_CHECK_COMMAND", request = "kvmi_vm_check_command" },
      [6] = { name = "KVMI_VM_CHECK_EVENT", request = "kvmi_vm_check_event" },
      [8] = { name = "KVMI_VM_GET_INFO", reply = "kvmi_vm_get_info_reply" },
      [10] = { name = "KVMI_VM_CONTROL_EVENTS", request = "kvmi_vcpu_control_events" },
      [12] = { name = "KVMI_VM_READ_PHYSICAL", request = "kvmi_vm_read_physical", reply_tail = "bytes" },
      [14] = { name = "KVMI_VM_WRITE_PHYSICAL", request = "kvmi_vm_read_physical", request_tail = "bytes" },
      [16] = { name = "KVMI_VM_PAUSE_VCPU", request = "kvmi_vm_pause_vcpu" },
      [18] = { name = "KVMI_VM_CONTROL_CLEANUP", request = "kvmi_vm_control_cleanup" },
      [20] = {
        name = "KVMI_VM_SET_PAGE_ACCESS",
        request = "kvmi_vm_set_page_access",
        request_tail = "kvmi_page_access_entry",
      },
      [3] = { name = "KVMI_VCPU_GET_INFO", vcpu = true, reply = "kvmi_vcpu_get_info_reply" },
      [5] = { name = "KVMI_VCPU_CONTROL_EVENTS", vcpu = true, request = "kvmi_vcpu_control_events" },
      [7] = {
        name = "KVMI_VCPU_GET_REGISTERS",
        vcpu = true,
        request = "kvmi_vcpu_get_registers",
        request_tail = "msr_index",
        reply = "kvmi_vcpu_get_registers_reply",
        reply_tail = "kvm_msr_entry",
      },
      [9] = { name = "KVMI_VCPU_SET_REGISTERS", vcpu = true, request = "kvm_regs of wire-7" },
      [11] = {
        name = "KVMI_VCPU_GET_CPUID",
        vcpu = true,
        request = "kvmi_vcpu_get_cpuid",
        reply = "kvmi_vcpu_get_cpuid_reply",
      },
      [13] = { name = "KVMI_VCPU_CONTROL_CR", vcpu = true, request = "kvmi_vcpu_control_cr" },
      [15] = { name = "KVMI_VCPU_INJECT_EXCEPTION", vcpu = true, request = "kvmi_vcpu_inject_exception" },
      [17] = { name = "KVMI_VCPU_GET_XCR", vcpu = true, request = "kvmi_vcpu_get_xcr", reply = "kvmi_vcpu_get_xcr_reply" },
      [19] = { name = "KVMI_VCPU_GET_XSAVE", vcpu = true, reply = "kvm_xsave" },
      [21] = { name = "KVMI_VCPU_SET_XSAVE", vcpu = true, request = "kvm_xsave" },
      [23] = {
        name = "KVMI_VCPU_GET_MTRR_TYPE",
        vcpu = true,
        request = "kvmi_vcpu_get_mtrr_type",
        reply = "kvmi_vcpu_get_mtrr_type_reply",
      },
      [25] = { name = "KVMI_VCPU_CONTROL_MSR", vcpu = true, request = "kvmi_vcpu_control_msr" },
      [27] = { name = "KVMI_VCPU_CONTROL_SINGLESTEP", vcpu = true, request = "kvmi_vcpu_control_singlestep" },
      [29] = {
        name = "KVMI_VCPU_TRANSLATE_GVA",
        vcpu = true,
        request = "kvmi_vcpu_translate_gva",
        reply = "kvmi_vcpu_translate_gva_reply",
      },
    },
    events = {
      [0] = { name = "KVMI_VM_EVENT_UNHOOK" },
      [1] = { name = "KVMI_VCPU_EVENT_PAUSE" },
      [3] = { name = "KVMI_VCPU_EVENT_HYPERCALL" },
      [5] = { name = "KVMI_VCPU_EVENT_BREAKPOINT", data = "kvmi_vcpu_event_breakpoint" },
      [7] = { name = "KVMI_VCPU_EVENT_CR", data = "kvmi_vcpu_event_cr", reply = "kvmi_vcpu_event_cr_reply" },
      [9] = { name = "KVMI_VCPU_EVENT_TRAP", data = "kvmi_vcpu_event_trap" },
      [11] = { name = "KVMI_VCPU_EVENT_XSETBV", data = "kvmi_vcpu_event_xsetbv" },
      [13] = { name = "KVMI_VCPU_EVENT_DESCRIPTOR", data = "kvmi_vcpu_event_descriptor" },
      [15] = { name = "KVMI_VCPU_EVENT_MSR", data = "kvmi_vcpu_event_msr", reply = "kvmi_vcpu_event_cr_reply" },
      [17] = { name = "KVMI_VCPU_EVENT_PF", data = "kvmi_vcpu_event_pf" },
      [19] = { name = "KVMI_VCPU_EVENT_SINGLESTEP", data = "kvmi_vcpu_event_singlestep" },
    },
    event_messages = { [0] = { structs = { "kvmi_event_hdr" } }, [1] = { structs = { "kvmi_event_hdr", "kvmi_vcpu_event" } } },
    event_replies = { [1] = { structs = { "kvmi_vcpu_hdr", "kvmi_vcpu_event_reply" }, reply = true } },
  },
  kvmi7 = {
    title = "wire-7",
    commands = {
      [2] = { name = "KVMI_GET_VERSION", reply = "kvmi_get_version_reply of wire-7" },
      [3] = { name = "KVMI_CHECK_COMMAND", request = "kvmi_vm_check_command" },
      [4] = { name = "KVMI_CHECK_EVENT", request = "kvmi_vm_check_event" },
      [5] = { name = "KVMI_GET_GUEST_INFO", reply = "kvmi_vm_get_info_reply" },
      [6] = { name = "KVMI_GET_VCPU_INFO", vcpu = true, reply = "kvmi_vcpu_get_info_reply" },
      [7] = { name = "KVMI_PAUSE_VCPU", request = "kvmi_pause_vcpu" },
      [8] = { name = "KVMI_CONTROL_VM_EVENTS", request = "kvmi_vcpu_control_events" },
      [9] = { name = "KVMI_CONTROL_EVENTS", vcpu = true, request = "kvmi_vcpu_control_events" },
      [10] = { name = "KVMI_CONTROL_CR", vcpu = true, request = "kvmi_control_cr" },
      [11] = { name = "KVMI_CONTROL_MSR", vcpu = true, request = "kvmi_vcpu_control_msr" },
      [13] = {
        name = "KVMI_GET_REGISTERS",
        vcpu = true,
        request = "kvmi_vcpu_get_registers",
        request_tail = "msr_index",
        reply = "kvmi_vcpu_get_registers_reply",
        reply_tail = "kvm_msr_entry",
      },
      [14] = { name = "KVMI_SET_REGISTERS", vcpu = true, request = "kvm_regs of wire-7" },
      [15] = { name = "KVMI_GET_CPUID", vcpu = true, request = "kvmi_vcpu_get_cpuid", reply = "kvmi_vcpu_get_cpuid_reply" },
      [16] = { name = "KVMI_GET_XSAVE", vcpu = true, reply = "kvm_xsave" },
      [17] = { name = "KVMI_READ_PHYSICAL", request = "kvmi_read_physical", reply_tail = "bytes" },
      [18] = { name = "KVMI_WRITE_PHYSICAL", request = "kvmi_read_physical", request_tail = "bytes" },
      [19] = { name = "KVMI_INJECT_EXCEPTION", vcpu = true, request = "kvmi_vcpu_inject_exception" },
      [21] = { name = "KVMI_SET_PAGE_ACCESS", request = "kvmi_set_page_access", request_tail = "kvmi_page_access_entry" },
      [23] = {
        name = "KVMI_GET_MTRR_TYPE",
        vcpu = true,
        request = "kvmi_vcpu_get_mtrr_type",
        reply = "kvmi_vcpu_get_mtrr_type_reply",
      },
      [24] = { name = "KVMI_CONTROL_SPP", request = "kvmi_control_spp" },
      [26] = {
        name = "KVMI_SET_PAGE_WRITE_BITMAP",
        request = "kvmi_set_page_write_bitmap",
        request_tail = "kvmi_page_write_bitmap_entry",
      },
      [27] = { name = "KVMI_CONTROL_CMD_RESPONSE", request = "kvmi_control_cmd_response" },
      [28] = { name = "KVMI_SET_VE_INFO_PAGE", vcpu = true, request = "kvmi_set_ve_info_page" },
      [29] = { name = "KVMI_GET_MAX_GFN", reply = "kvmi_get_max_gfn_reply" },
      [32] = { name = "KVMI_SWITCH_EPT_VIEW", vcpu = true, request = "kvmi_switch_ept_view_req" },
      [33] = { name = "KVMI_DISABLE_VE", vcpu = true },
      [34] = { name = "KVMI_GET_EPT_VIEW", vcpu = true, reply = "kvmi_switch_ept_view_req" },
      [35] = {
        name = "KVMI_VCPU_TRANSLATE_GVA",
        vcpu = true,
        request = "kvmi_vcpu_translate_gva",
        reply = "kvmi_vcpu_translate_gva_reply",
      },
      [36] = { name = "KVMI_CONTROL_EPT_VIEW", vcpu = true, request = "kvmi_control_ept_view_req" },
      [37] = { name = "KVMI_VCPU_GET_XCR", vcpu = true, request = "kvmi_vcpu_get_xcr", reply = "kvmi_vcpu_get_xcr_reply" },
      [38] = { name = "KVMI_VCPU_SET_XSAVE", vcpu = true, request = "kvm_xsave" },
      [43] = { name = "KVMI_CREATE_EPT_VIEW", reply = "kvmi_switch_ept_view_req" },
      [44] = { name = "KVMI_DESTROY_EPT_VIEW", request = "kvmi_switch_ept_view_req" },
      [63] = { name = "KVMI_VCPU_CONTROL_SINGLESTEP", vcpu = true, request = "kvmi_vcpu_control_singlestep" },
    },
    events = {
      [0] = { name = "KVMI_EVENT_UNHOOK" },
      [1] = { name = "KVMI_EVENT_CR", data = "kvmi_vcpu_event_cr", reply = "kvmi_vcpu_event_cr_reply" },
      [2] = { name = "KVMI_EVENT_MSR", data = "kvmi_vcpu_event_msr", reply = "kvmi_vcpu_event_cr_reply" },
      [3] = { name = "KVMI_EVENT_XSETBV" },
      [4] = { name = "KVMI_EVENT_BREAKPOINT", data = "kvmi_vcpu_event_breakpoint" },
      [5] = { name = "KVMI_EVENT_HYPERCALL" },
      [6] = { name = "KVMI_EVENT_PF", data = "kvmi_vcpu_event_pf", reply = "kvmi_event_pf_reply" },
      [7] = { name = "KVMI_EVENT_TRAP", data = "kvmi_vcpu_event_trap" },
      [8] = { name = "KVMI_EVENT_DESCRIPTOR", data = "kvmi_vcpu_event_descriptor" },
      [9] = { name = "KVMI_EVENT_CREATE_VCPU" },
      [10] = { name = "KVMI_EVENT_PAUSE_VCPU" },
      [11] = { name = "KVMI_EVENT_SINGLESTEP", data = "kvmi_vcpu_event_singlestep" },
      [12] = { name = "KVMI_EVENT_CMD_ERROR", data = "kvmi_event_cmd_error" },
      [13] = { name = "KVMI_EVENT_CPUID", data = "kvmi_event_cpuid" },
    },
    event_messages = { [1] = { structs = { "kvmi_event" } } },
    event_replies = { [0] = { structs = { "kvmi_vcpu_hdr", "kvmi_vcpu_event_reply" }, reply = true } },
  },
}
local NAMES = {
  ["kvmi_msg_hdr.id"] = "commands",
  ["kvmi_vm_check_command.id"] = "commands",
  ["kvmi_vm_check_event.id"] = "events",
  event = "events",
  event_id = "events",
  action = "actions",
  access = "access",
  descriptor = "descriptors",
  err = "errors",
}
local TABLES = {
  actions = { [0] = "CONTINUE", [2] = "CRASH", [1] = "RETRY" },
  descriptors = { [2] = "GDTR", [1] = "IDTR", [3] = "LDTR", [4] = "TR" },
  access = { [0] = "---", [1] = "r--", [2] = "-w-", [3] = "rw-", [4] = "--x", [5] = "r-x", [6] = "-wx", [7] = "rwx" },
  errors = {
    [0] = "done",
    [-7] = "E2BIG",
    [-11] = "EAGAIN",
    [-16] = "EBUSY",
    [-17] = "EEXIST",
    [-14] = "EFAULT",
    [-4] = "EINTR",
    [-22] = "EINVAL",
    [-2] = "ENOENT",
    [-12] = "ENOMEM",
    [-1000] = "ENOSYS",
    [-95] = "EOPNOTSUPP",
    [-1] = "EPERM",
  },
}
local SHOWN = {
  "vcpu",
  "gva",
  "gpa",
  "access",
  "cr",
  "msr",
  "xcr",
  "descriptor",
  "event_id",
  "nr",
  "enable",
  "size",
  "count",
  "action",
}
local HEADER = "kvmi_msg_hdr"
local VCPU_HEADER = "kvmi_vcpu_hdr"
local ERROR = "kvmi_error_code"
local HANDSHAKE = {
  dissector = "kvmi_handshake",
  from_vm = "qemu_vmi_to_introspector",
  from_tool = "qemu_vmi_from_introspector",
}

-- ── what follows knows no message by name: it reads the tables above ────────────────────────────────────────

local kvmi = Proto("kvmi", "KVM introspection")
local text_field = {
  message = ProtoField.string("kvmi.message", "Message"),
  data = ProtoField.bytes("kvmi.payload", "Data"),
  ignored = ProtoField.bytes("kvmi.ignored", "Beyond its struct"),
  missing = ProtoField.bytes("kvmi.missing", "Cut short"),
  padding = ProtoField.bytes("kvmi.bad_padding", "Padding"),
  from_tool = ProtoField.bool("kvmi.from_tool", "From the tool"),
  request_in = ProtoField.framenum("kvmi.request_in", "Answer to", base.NONE, frametype.REQUEST),
  response_in = ProtoField.framenum("kvmi.response_in", "Answered in", base.NONE, frametype.RESPONSE),
  time = ProtoField.relative_time("kvmi.time", "Time to the answer"),
}
local not_zero = ProtoExpert.new("kvmi.not_zero", "Padding that is not 0", expert.group.PROTOCOL, expert.severity.WARN)
local cut_short = ProtoExpert.new("kvmi.cut_short", "Less than its struct", expert.group.PROTOCOL, expert.severity.NOTE)
local unknown = ProtoExpert.new("kvmi.unknown", "Neither command nor event", expert.group.PROTOCOL, expert.severity.WARN)
local refused = ProtoExpert.new("kvmi.refused", "Refused", expert.group.RESPONSE_CODE, expert.severity.NOTE)
local never_whole = ProtoExpert.new("kvmi.never_whole", "The connection ended within it", expert.group.PROTOCOL, expert.severity.WARN)
kvmi.experts = { not_zero, cut_short, unknown, refused, never_whole }

local scalar_bytes = { u8 = 1, u16 = 2, u32 = 4, s32 = 4, u64 = 8 }
local made = {}
local all = {}
for name, field in pairs(FIELDS) do
  made[name] = ProtoField[field.type]("kvmi." .. name, name, base[field.base])
  table.insert(all, made[name])
end
for _, field in pairs(text_field) do table.insert(all, field) end
kvmi.fields = all

local inbound_field = Field.new("frame.packet_flags_direction")
local interface_field = Field.new("frame.interface_id")

-- What a number of this field stands for, or nil.
local function meaning(wire, struct, field, value)
  local names = NAMES[struct .. "." .. field] or NAMES[field]
  if names == nil then return nil end
  if names == "commands" or names == "events" then
    local known = wire and wire[names][value]
    return known and known.name
  end
  return TABLES[names][value]
end

local function value_of(range, kind)
  if kind == "u64" then return range:le_uint64() end
  if kind == "s32" then return range:le_int() end
  return range:le_uint()
end

-- Adds a struct. Returns where it ends, its values by name, and false when there was less than all of it.
local function add_struct(wire, tree, buffer, at, name)
  local values = {}
  for _, field in ipairs(STRUCTS[name].fields) do
    local from = at + field.at
    if from + field.size > buffer:len() then
      if from < buffer:len() then tree:add(text_field.missing, buffer(from)) end
      tree:add_proto_expert_info(cut_short, name .. " has " .. STRUCTS[name].size .. " bytes")
      return buffer:len(), values, false
    end
    local range = buffer(from, field.size)
    if scalar_bytes[field.kind] then
      local value = value_of(range, field.kind)
      values[field.name] = value
      local item = tree:add_le(made[field.name], range)
      local says = field.kind ~= "u64" and meaning(wire, name, field.name, value)
      if says then item:append_text(" (" .. says .. ")") end
    elseif field.kind == "pad" then
      if range:bytes():tohex():find("[^0]") then
        tree:add(text_field.padding, range):add_proto_expert_info(not_zero)
      end
    elseif field.of then
      add_struct(wire, tree:add(kvmi, range, field.name), buffer, from, field.of)
    else
      tree:add(made[field.name], range)
    end
  end
  return at + STRUCTS[name].size, values, true
end

-- What follows a struct: entries, bytes, or what nobody asked for.
local function add_tail(wire, tree, buffer, at, tail)
  if at >= buffer:len() then return end
  if tail == "bytes" then tree:add(text_field.data, buffer(at)) return end
  if tail == nil then tree:add(text_field.ignored, buffer(at)) return end
  local size = STRUCTS[tail].size
  while at + size <= buffer:len() do
    add_struct(wire, tree:add(kvmi, buffer(at, size), tail), buffer, at, tail)
    at = at + size
  end
  if at < buffer:len() then tree:add(text_field.ignored, buffer(at)) end
end

-- A body: structs one after the other, then a tail. Returns all values by name.
local function add_body(wire, tree, buffer, at, structs, tail)
  local all_values = {}
  for _, name in ipairs(structs) do
    local values, whole
    at, values, whole = add_struct(wire, tree:add(kvmi, buffer(math.min(at, buffer:len())), name), buffer, at, name)
    for key, value in pairs(values) do all_values[key] = value end
    if not whole then return all_values, at end
  end
  add_tail(wire, tree, buffer, at, tail)
  return all_values, at
end

-- ── who answers whom: learnt as the file is read the first time ─────────────────────────────────────────────
local open, partner, asked_at = {}, {}, {}
function kvmi.init()
  open, partner, asked_at = {}, {}, {}
end

local function asks(pinfo, key)
  if pinfo.visited then return end
  open[key] = pinfo.number
  asked_at[pinfo.number] = pinfo.abs_ts
end

local function answers(pinfo, key)
  if pinfo.visited then return end
  local asked = open[key]
  if asked == nil then return end
  open[key] = nil
  partner[pinfo.number] = { request = asked, seconds = pinfo.abs_ts - asked_at[asked] }
  partner[asked] = { response = pinfo.number }
end

local function add_partner(pinfo, tree)
  local other = partner[pinfo.number]
  if other == nil then return end
  if other.response then tree:add(text_field.response_in, other.response):set_generated() return end
  tree:add(text_field.request_in, other.request):set_generated()
  local whole = math.floor(other.seconds)
  tree:add(text_field.time, NSTime.new(whole, math.floor((other.seconds - whole) * 1e9))):set_generated()
end

-- ── messages ────────────────────────────────────────────────────────────────────────────────────────────────
local function hex(value)
  return "0x" .. (type(value) == "number" and string.format("%x", value) or value:tohex():lower():gsub("^0+(.)", "%1"))
end

-- The few values worth a place in the list of packets.
local function summary(wire, values)
  local words = {}
  for _, name in ipairs(SHOWN) do
    local value = values[name]
    if value ~= nil then
      local says = type(value) == "number" and meaning(wire, "", name, value)
      table.insert(words, name .. " " .. (says or (type(value) == "number" and FIELDS[name].base == "DEC" and value or hex(value))))
    end
  end
  return #words == 0 and "" or ", " .. table.concat(words, ", ")
end

local function total_size(structs)
  local size = 0
  for _, name in ipairs(structs) do size = size + STRUCTS[name].size end
  return size
end

local function event_message(wire, message, tree, buffer)
  local values = add_body(wire, tree, buffer, STRUCTS[HEADER].size, message.structs, "bytes")
  local event = wire.events[values.event]
  local at = STRUCTS[HEADER].size + total_size(message.structs)
  local name = event and event.name or "event " .. tostring(values.event)
  local data = message.reply and (event and event.reply) or (not message.reply and event and event.data)
  -- What the event's own struct says stands before the registers that come with it.
  local own = {}
  if data and at < buffer:len() then own = add_body(wire, tree, buffer, at, { data }, nil) end
  for _, key in ipairs({ "vcpu", "action" }) do own[key] = values[key] end
  return name, own, event ~= nil
end

local function dissect(wire, buffer, pinfo, root)
  if buffer:len() < STRUCTS[HEADER].size then return 0 end
  local inbound = inbound_field() ~= nil and inbound_field().value == 1
  local tree = root:add(kvmi, buffer(), "KVM introspection, " .. wire.title)
  pinfo.cols.protocol = "KVMI"
  pinfo.cols.src = inbound and "tool" or "VM"
  pinfo.cols.dst = inbound and "VM" or "tool"
  tree:add(text_field.from_tool, inbound):set_generated()
  local _, header = add_struct(wire, tree, buffer, 0, HEADER)
  local id, seq = header.id, header.seq
  local at = STRUCTS[HEADER].size
  local key = (interface_field() and interface_field().value or 0) .. ":"
  local name, values, known = nil, {}, true
  local event = (inbound and wire.event_replies or wire.event_messages)[id]
  local command = wire.commands[id]
  if event and buffer:reported_len() - at >= total_size(event.structs) then
    name, values, known = event_message(wire, event, tree, buffer)
    if inbound then answers(pinfo, key .. "event:" .. seq) else asks(pinfo, key .. "event:" .. seq) end
    if inbound then name = "reply: " .. name end
  elseif inbound then
    name = command and command.name or (event and "reply to an event" or "command " .. id)
    known = command ~= nil or event ~= nil
    local structs = {}
    if command and command.vcpu then table.insert(structs, VCPU_HEADER) end
    if command and command.request then table.insert(structs, command.request) end
    if command and at < buffer:len() then
      values = add_body(wire, tree, buffer, at, structs, command.request_tail)
    elseif at < buffer:len() then tree:add(text_field.data, buffer(at)) end
    asks(pinfo, key .. id .. ":" .. seq)
  else
    answers(pinfo, key .. id .. ":" .. seq)
    name = "answer: " .. (command and command.name or "command " .. id)
    if at < buffer:len() then
      local item = tree:add(kvmi, buffer(at, math.min(STRUCTS[ERROR].size, buffer:len() - at)), ERROR)
      local next_at, code = add_struct(wire, item, buffer, at, ERROR)
      if code.err ~= nil and code.err ~= 0 then
        name = name .. ": " .. (meaning(wire, ERROR, "err", code.err) or code.err)
        item:add_proto_expert_info(refused)
      elseif next_at < buffer:len() then
        local structs = command and command.reply and { command.reply } or {}
        values = add_body(wire, tree, buffer, next_at, structs, command and command.reply_tail or (command == nil and "bytes" or nil))
      end
    end
  end
  tree:add(text_field.message, name):set_generated()
  if not known then tree:add_proto_expert_info(unknown) end
  if buffer:reported_len() > buffer:len() then tree:add_proto_expert_info(never_whole) end
  add_partner(pinfo, tree)
  pinfo.cols.info = name .. ", seq " .. seq .. summary(wire, values)
  return buffer:len()
end

for dissector, wire in pairs(WIRES) do
  local proto = Proto(dissector, "KVM introspection, " .. wire.title)
  function proto.dissector(buffer, pinfo, root)
    return dissect(wire, buffer, pinfo, root)
  end
end

local handshake = Proto(HANDSHAKE.dissector, "KVM introspection, handshake")
function handshake.dissector(buffer, pinfo, root)
  local inbound = inbound_field() ~= nil and inbound_field().value == 1
  local tree = root:add(kvmi, buffer(), "KVM introspection, handshake")
  pinfo.cols.protocol = "KVMI"
  pinfo.cols.src = inbound and "tool" or "VM"
  pinfo.cols.dst = inbound and "VM" or "tool"
  local name = inbound and "handshake of the tool" or "handshake of the VM"
  tree:add(text_field.message, name):set_generated()
  add_body(nil, tree, buffer, 0, { inbound and HANDSHAKE.from_tool or HANDSHAKE.from_vm }, nil)
  if buffer:reported_len() > buffer:len() then tree:add_proto_expert_info(never_whole) end
  pinfo.cols.info = name
  return buffer:len()
end
