-- Appends entries to one job's live stream, numbers them, and keeps the stream's life: all in one atomic call.
--
-- KEYS[1]
--   The stream, $namespace:live:$job_id. The fields of an entry, in this order: `n`, `type`, `data`, and for the last of
--   a job `end`. `n` counts from 1 and goes up by one: where it does not for a reader, entries were trimmed or lost.
-- ARGV
--   Most entries kept (about), seconds that the stream lives after its last entry, and after its end; then for each
--   entry its type, its data, and "1" if it is the job's last, else "0".
--
-- Nothing comes after the end: what a writer that was late appends there is ignored.

local stream = KEYS[1]
local cap, life, afterlife = ARGV[1], tonumber(ARGV[2]), ARGV[3]

-- Seconds by which the stream may die early. To prolong its life with every entry would write as much again to the
-- append-only file.
local SLACK = 60

local number = 0
local last = redis.call("xrevrange", stream, "+", "-", "COUNT", 1)[1]
if last then
    if last[2][7] == "end" then
        return
    end
    number = tonumber(last[2][2])
end

for i = 4, #ARGV, 3 do
    number = number + 1
    local entry = {"n", string.format("%.0f", number), "type", ARGV[i], "data", ARGV[i + 1]}
    if ARGV[i + 2] == "1" then
        entry[7], entry[8] = "end", "1"
    end
    redis.call("xadd", stream, "MAXLEN", "~", cap, "*", unpack(entry))
    if entry[7] then
        redis.call("expire", stream, afterlife)
        return
    end
end

if redis.call("ttl", stream) < life - SLACK then
    redis.call("expire", stream, life)
end
