-- Ends the rebuild of a partition, if everything in its streams has been applied.
-- KEYS  1 rebuilding   2 events stream   3 exposures stream   ARGV  1, 2 the last ids that were applied
-- Answers 1, or 0 when more has arrived.
for i = 1, 2 do
  if #redis.call('XRANGE', KEYS[i + 1], '(' .. ARGV[i], '+', 'COUNT', 1) > 0 then return 0 end
end
redis.call('DEL', KEYS[1])
return 1
