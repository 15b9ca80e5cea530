-- What can be called. The names are the protocol: none is taken away.

redis.register_function('onsale_enqueue', enqueue)
redis.register_function('onsale_enqueue_many', enqueue_many)
redis.register_function('onsale_rejoin', rejoin)
-- All others go on when Redis is out of memory: what they add is bounded by the tickets, or was there in another
-- form (a line that is restored), and only they end what takes memory.
local function keeps_going(name, callback)
  redis.register_function{function_name = name, callback = callback, flags = {'allow-oom'}}
end
keeps_going('onsale_announce_worker', announce_worker)
keeps_going('onsale_forget_consumers', forget_consumers)
keeps_going('onsale_commit', commit)
keeps_going('onsale_decide', decide)
keeps_going('onsale_read', read)
keeps_going('onsale_split', split)
keeps_going('onsale_take_over', take_over)
keeps_going('onsale_tick', tick)
keeps_going('onsale_ends', ends)
keeps_going('onsale_load', load)
keeps_going('onsale_publish_map', publish_map)
keeps_going('onsale_confirm', confirm)
keeps_going('onsale_ask_buyer', ask_buyer)
keeps_going('onsale_finish', finish)
keeps_going('onsale_forsake', mark_lost)
keeps_going('onsale_cancel', cancel)
keeps_going('onsale_show_holds', show_holds)
keeps_going('onsale_settle_holds', settle_holds)
redis.register_function{function_name='onsale_find', flags={'no-writes'}, callback=find}
keeps_going('onsale_configure', configure)
keeps_going('onsale_archivable', archivable)
keeps_going('onsale_remove', remove)
keeps_going('onsale_leave', leave)
keeps_going('onsale_repair', repair)
keeps_going('onsale_drop_lock', drop_lock)
keeps_going('onsale_ask_again', ask_again)
keeps_going('onsale_offer_late', offer_late)
keeps_going('onsale_settle_late', settle_late)
keeps_going('onsale_drop_late', drop_late)
keeps_going('onsale_note_sold', note_sold)
keeps_going('onsale_drop_sold', drop_sold)
keeps_going('onsale_bar_grants', bar_grants)
keeps_going('onsale_give_back', give_back)
keeps_going('onsale_lease', lease)
keeps_going('onsale_release_lease', release_lease)
keeps_going('onsale_own', own)
keeps_going('onsale_remember', remember)
keeps_going('onsale_end_refresh', end_refresh)
keeps_going('onsale_end_holds_of', end_holds_of)
keeps_going('onsale_set_clock', set_clock)
keeps_going('onsale_renew_locks', renew_locks)
redis.register_function{function_name='onsale_place', flags={'no-writes'}, callback=place}
redis.register_function{function_name='onsale_next_confirmation', flags={'no-writes'},
  callback=next_confirmation}
redis.register_function{function_name='onsale_version', flags={'no-writes'},
  callback=function() return VERSION end}
