"""What happens on a connection below the application: uvicorn's protocol with limits of time, size and number."""
