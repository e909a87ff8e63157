-- Runs in front of Dramatiq's dispatch.lua, in the same atomic call and with the same KEYS and ARGV.
--
-- $namespace:$queue_name.wake
--   A list of tokens, one for each message that was pushed and that no consumer may have heard of yet. An idle consumer
--   blocks on it, so a push wakes exactly one. The tokens are hints: with one too many a consumer looks in vain, with
--   one too few a message waits for the next time a consumer looks by itself.

-- A consumer that falls idle clears what is left, so more tokens than consumers that may be idle at once are of no use.
local MAX_TOKENS = 1000

do
    local command = ARGV[1]
    local queue = KEYS[1] .. ":" .. ARGV[3]
    local wake = queue .. ".wake"

    -- Heartbeats of all machines are compared with each other. By the clock of one machine, the others would seem dead
    -- to a worker whose clock runs ahead, and it would take their messages from under them.
    local time = redis.call("time")
    ARGV[2] = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))

    local pushed = 0
    if command == "enqueue" then
        pushed = 1
    elseif command == "requeue" then
        pushed = #ARGV - 8
    elseif command == "fetch" and redis.call("llen", queue) == 0 then
        redis.call("del", wake)
    end

    if pushed > 0 then
        local tokens = redis.call("llen", wake)
        local wanted = math.min(redis.call("llen", queue) + pushed, tokens + pushed, MAX_TOKENS)
        for _ = tokens + 1, wanted do
            redis.call("rpush", wake, "1")
        end
    end
end

