-- Prolongs a lock that is still ours.   KEYS: lock   ARGV: token, milliseconds   Answers 1, or 0 when it was lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
