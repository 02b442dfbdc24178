"""DeepSeek-OCR's DeepEncoder."""
