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
