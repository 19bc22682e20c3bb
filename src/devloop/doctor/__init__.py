"""What a Dockerfile costs in daily work, and a better one that is proven before it is offered."""
