-- Runs behind wake.lua and Dramatiq's dispatch.lua, which are the body of the function `dispatch` here: once for each of
-- many messages, in one atomic call. ARGV[1] to ARGV[8] are dispatch.lua's, but for the queue; then come, of each message,
-- its queue, its id and its data.

for first = 9, #ARGV, 3 do
    dispatch(KEYS, {
        ARGV[1], ARGV[2], ARGV[first], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[first + 1], ARGV[first + 2],
    })
end
