"""What a run starts beside itself: servers, a Redis, certificates, and what watches over them."""
